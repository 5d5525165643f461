# Everything that this repository can do, on a machine with make and Python 3.11 and nothing else.
# scripts/setup.sh makes the environment; a second run finds it made and takes no time.

.PHONY: setup demo test check bench peers clean
.DEFAULT_GOAL := setup

setup:  # the environment in .venv: the platform, ready to run
	@scripts/setup.sh runtime

demo: setup  # the whole story with real models; keeps its data in .demo
	@.venv/bin/python examples/digits/demo.py

test: setup  # the whole suite, two files at a time; TESTS="tests/core -k evict" for a part
	@scripts/setup.sh test
	.venv/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder $(TESTS)

check: setup  # format, lint, types, and how long our functions are
	@scripts/setup.sh lint
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	scripts/types.sh
	.venv/bin/python scripts/shape.py

bench: setup  # benchmarks/README.md says what is measured; a result in benchmarks/results
	@scripts/setup.sh bench
	.venv/bin/python -m benchmarks

peers: setup  # the servers of other people that the benchmarks compare with; two of them need Java
	scripts/peers.sh $(PEERS)

clean:  # all that was made here, the demo's data included
	rm -rf .venv .venv-peers .venv-peer-* .demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
