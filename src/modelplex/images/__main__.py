"""Builds a built-in image for control: `python -m modelplex.images NAME --data DIR`.

One JSON object per line on stdout: {"step", "detail"} for each thing that is done, and at the end
{"built": HASH}, or {"failed": TEXT} and exit status 1. It ends, with all that it has started, when
its parent ends.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import sys
from pathlib import Path

from modelplex.images import builtin_images
from modelplex.images.environment import BuildFailed
from modelplex.images.store import ImageStore

_PR_SET_PDEATHSIG = 1
_REASON_MAX = 500  # characters of what pip says


def main() -> int:
    """Build one image; the exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: a build cleans up
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    parser = argparse.ArgumentParser(prog="modelplex.images", description=__doc__)
    parser.add_argument("name", choices=builtin_images.names())
    parser.add_argument("--data", type=Path, required=True, help="the platform's data folder")
    arguments = parser.parse_args()
    if os.getppid() != parent:  # it ended before it could be noticed
        return 1
    store = ImageStore(arguments.data / "images")
    try:
        built = builtin_images.make(store, arguments.name, _progress)
    except (BuildFailed, OSError) as error:
        _say(failed=reason(error))
        return 1
    except KeyboardInterrupt:
        return 1
    _say(built=built.image.hash)
    return 0


def reason(error: Exception) -> str:
    """Why a build failed, in one line: what was done, and what pip says of it at last."""
    lines = [line.strip() for line in getattr(error, "tail", "").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines
    return ": ".join([str(error), *errors[-1:]])[:_REASON_MAX]


def _progress(step: str, detail: str) -> None:
    _say(step=step, detail=detail)


def _say(**document: str) -> None:
    print(json.dumps(document), flush=True)


if __name__ == "__main__":
    sys.exit(main())
