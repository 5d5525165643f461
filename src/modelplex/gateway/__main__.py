"""`python -m modelplex.gateway --data DIR`: the gateway as a process of its own."""

from __future__ import annotations

import argparse
from pathlib import Path

import uvloop

from modelplex.gateway import app


def main() -> None:
    """Parse the arguments and run until told to stop."""
    parser = argparse.ArgumentParser(prog="modelplex.gateway", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the platform's data folder")
    arguments = parser.parse_args()
    app.die_with_parent()
    uvloop.run(app.run(arguments.data.absolute()))


if __name__ == "__main__":
    main()
