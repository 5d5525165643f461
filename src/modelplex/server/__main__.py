"""`python -m modelplex.server`: one server process, in the foreground."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from modelplex.server.launch import NAMESPACE, add_options, arguments
from modelplex.server.start.process import run


def main(argv: Sequence[str] | None = None) -> int:
    """Run a server until a signal. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m modelplex.server")
    parser.add_argument("namespace", nargs="?", help=f"{NAMESPACE}, to be found by")
    add_options(parser)
    return run(lambda: arguments(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
