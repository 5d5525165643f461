"""Runs the conversions of checkpoints and says how far they are from what MXNet said.

    python compare.py CODE FOLDER

Runs in the environment of the image `mxnet`; CODE is the image's folder. For each `NAME.npz` (of
networks.py) it prints a line of JSON: the largest error relative to the largest output, of a
conversion made in memory and of the one that `prepare` keeps, and the milliseconds of each step.
"""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np


def error(network: Any, given: Any, wanted: Any) -> float:
    """The largest difference, as a share of the largest value."""
    found = network.run(network.feeds(given))
    assert found.shape == wanted.shape, (found.shape, wanted.shape)
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def milliseconds(began: float) -> float:
    """Since then."""
    return (time.perf_counter() - began) * 1000


def compare(source: Path, name: str, sessions: Any, network_of: Any) -> dict[str, Any]:
    """One network: as it is, and prepared."""
    with np.load(source / f"{name}.npz") as asked, tempfile.TemporaryDirectory() as folder:
        given, wanted = asked["input"], asked["output"]
        for path in source.glob(f"{name}-*"):
            shutil.copy(path, folder)
        began = time.perf_counter()
        network = network_of(folder)
        result = {"name": name, "convert_ms": milliseconds(began)}
        result["error"] = error(network, given, wanted)
        began = time.perf_counter()
        sessions.prepare(folder)
        result["prepare_ms"] = milliseconds(began)
        began = time.perf_counter()
        prepared = network_of(folder)
        result["load_ms"] = milliseconds(began)
        result["error_prepared"] = error(prepared, given, wanted)
    return result


def main() -> None:
    """All of them; one that cannot be converted has `failure` instead."""
    sys.path.insert(0, sys.argv[1])
    source = Path(sys.argv[2])
    sessions = importlib.import_module("mxnet_onnx.sessions")
    network_of = importlib.import_module("mxnet_onnx.network").Network
    for path in sorted(source.glob("*.npz")):
        try:
            line = compare(source, path.stem, sessions, network_of)
        except Exception as problem:
            line = {"name": path.stem, "failure": f"{type(problem).__name__}: {problem}"}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
