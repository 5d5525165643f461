"""Decide: what lives where. Pure; no I/O, no clock, no randomness.

`residency` is one instance's machine and has the drawing; the other files here are its parts, but
for `reconcile` and `sizing`, which are control's. `facts/` says what each fact leads to,
`policies/` who leaves first, `versions/` how a model is replaced, `sharing/` who shares a worker;
`log/` keeps what was decided; `routing/`, the gateway's, says where requests go.
"""
