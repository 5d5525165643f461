"""`python -m modelplex.registry --data DIR`: the registry's door as a process of its own."""

from __future__ import annotations

import argparse
from pathlib import Path

import uvloop

from modelplex.registry import app


def main() -> None:
    """Parse the arguments and run until told to stop."""
    parser = argparse.ArgumentParser(prog="modelplex.registry", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the platform's data folder")
    arguments = parser.parse_args()
    uvloop.run(app.run(arguments.data.absolute()))


if __name__ == "__main__":
    main()
