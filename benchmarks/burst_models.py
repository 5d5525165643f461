"""The models of `burst.py`, as archives for ours and as folders for MMS."""

from __future__ import annotations

import gzip
import json
import os
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

HANDLER = """
import time
from pathlib import Path


class Service:
    def initialize(self, context):
        end = time.process_time() + float(Path("burn.txt").read_text())
        weights = Path("weights.bin")
        self.size = len(weights.read_bytes()) if weights.exists() else 0
        while time.process_time() < end:
            sum(range(1000))

    def handle(self, data, context):
        return [data[0]["body"]]
"""
TOML = 'handler = "service.py"\n'


@dataclass(frozen=True, slots=True)
class Kind:
    """A burst: so many models, each with weights of a size and CPU seconds to initialise."""

    name: str
    models: int
    weights: int
    burn_s: float


KINDS = (
    Kind("small", 60, 0, 0.0),
    Kind("large", 8, 50_000_000, 0.0),
    Kind("heavy", 12, 0, 0.4),
)

Models = Iterable[tuple[str, Kind]]  # names, and what they are


def _weights(size: int) -> bytes:
    """What gzip makes three quarters of, as it does of many weights."""
    return os.urandom(size).translate(bytes(number & 63 for number in range(256)))


def fill_store(folder: Path, models: Models) -> None:
    """Archives, as plain files of the embedded store. The weights are packed once for all: an
    archive is its own name packed, and then they, as two members of one gzip file."""
    folder.mkdir(parents=True)
    packed = {kind.name: _packed(kind) for kind in KINDS}
    for name, kind in models:
        own = gzip.compress(_tar({"name.txt": name.encode()}))
        (folder / f"{name}.tar.gz").write_bytes(own + packed[kind.name])


def _packed(kind: Kind) -> bytes:
    files = {"burn.txt": str(kind.burn_s).encode()}
    if kind.weights:
        files["weights.bin"] = _weights(kind.weights)
    return gzip.compress(_tar(files) + bytes(2 * tarfile.BLOCKSIZE), 1)


def _tar(files: dict[str, bytes]) -> bytes:
    """A tar archive without its end."""
    parts = []
    for name, data in files.items():
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        parts += [entry.tobuf(), data, bytes(-len(data) % tarfile.BLOCKSIZE)]
    return b"".join(parts)


def fill_folders(store: Path, models: Models) -> None:
    """What MMS takes for a model: a folder with its handler. Weights are hard links of one file."""
    (store / "weights").mkdir(parents=True)
    for kind in KINDS:
        (store / "weights" / kind.name).write_bytes(_weights(kind.weights))
    for name, kind in models:
        folder = store / name
        (folder / "MAR-INF").mkdir(parents=True)
        manifest = {"runtime": "python", "model": {"modelName": name, "handler": "service"}}
        (folder / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(manifest))
        (folder / "service.py").write_text(HANDLER)
        (folder / "burn.txt").write_text(str(kind.burn_s))
        if kind.weights:
            (folder / "weights.bin").hardlink_to(store / "weights" / kind.name)
