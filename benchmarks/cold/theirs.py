"""Multi Model Server's side, fed as AWS's containers are: by a client that brings the archive.

The client downloads it from the same store and unpacks it with Python's tarfile, then asks MMS to
load the folder (`POST /models`, until 200), then asks once.
"""

from __future__ import annotations

import shutil
import tarfile
import time
from pathlib import Path

import obstore
from obstore.store import S3Store

from benchmarks.cold.cases import Case
from benchmarks.cold.floor import CHUNK_BYTES
from benchmarks.model_server import Side

Steps = dict[str, float]  # milliseconds, by name


def fetch(bucket: S3Store, key: str, folder: Path) -> Steps:
    """Download and unpack into a new folder."""
    began = time.perf_counter()
    packed = folder.with_name(f"{folder.name}.tar.gz")
    with packed.open("wb") as file:
        for chunk in obstore.get(bucket, key).stream(min_chunk_size=CHUNK_BYTES):
            file.write(chunk)
    downloaded = time.perf_counter()
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")
    unpacked = time.perf_counter()
    packed.unlink()
    return {"download": (downloaded - began) * 1000, "unpack": (unpacked - downloaded) * 1000}


def load(side: Side, case: Case, name: str, folder: Path) -> Steps:
    """Load it from its folder and answer once; then it is unloaded again."""
    began = time.perf_counter()
    query = f"/models?url={folder.name}&model_name={name}&initial_workers=1&synchronous=true"
    _ask(side, "POST", query)
    loaded = time.perf_counter()
    _ask(side, "POST", f"/models/{name}/invoke", case.body)
    answered = time.perf_counter()
    _ask(side, "DELETE", f"/models/{name}")
    return {"load": (loaded - began) * 1000, "answer": (answered - loaded) * 1000}


def remove(folder: Path) -> None:
    """What was unpacked goes."""
    shutil.rmtree(folder)


def _ask(side: Side, method: str, path: str, body: bytes = b"") -> None:
    status, answer = side.call(method, path, body)
    assert status == 200, (method, path, status, answer)
