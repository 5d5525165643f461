"""The warm path of a request: ours, the floors below it and the peers beside it, in one run.

    python -m benchmarks path [--quick] [--sides bare,hop,server,signed] [--shapes 1K-8,1M-8]
        [--rounds 3] [--seconds 1] [--models 100] [--before FOLDER]

`sides/` is who is measured, `load.py` what they are asked, `costs.py` and `profile.py` what that
costs them, `command.py` the run, `tables.py` and `targets.py` what is said about it.
"""
