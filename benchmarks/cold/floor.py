"""What no server can beat: the store's bytes, read and thrown away, and the handler's own work.

The handler runs in a process that has imported its framework and has answered before.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import obstore
from obstore.store import S3Store

from benchmarks.cold.cases import Case
from benchmarks.model_server import PEERS

CHUNK_BYTES = 256 * 1024
# Reads a folder and a body in hexadecimal; writes milliseconds.
_WARM = """
import importlib.util, os, sys, time
for line in sys.stdin:
    folder, body = line.split()
    os.chdir(folder)
    began = time.perf_counter()
    spec = importlib.util.spec_from_file_location("service", "service.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    service = module.Service()
    service.initialize(None)
    service.handle([{"body": bytes.fromhex(body)}], None)
    print((time.perf_counter() - began) * 1000, flush=True)
"""


class Warm:
    """A process that has the frameworks."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def answer(self, case: Case, folder: Path) -> float:
        """Milliseconds to load the model in a folder and to answer once."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{folder} {case.body.hex()}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())


@contextmanager
def warm() -> Iterator[Warm]:
    """A warm process until the block ends."""
    process = subprocess.Popen(
        [PEERS / "bin/python", "-W", "ignore", "-c", _WARM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Warm(process)
    finally:
        process.kill()
        process.communicate()


def stream_ms(store: S3Store, key: str) -> float:
    """To read an object and throw it away."""
    began = time.perf_counter()
    for _ in obstore.get(store, key).stream(min_chunk_size=CHUNK_BYTES):
        pass
    return (time.perf_counter() - began) * 1000
