"""The models of the cold path: their files, their handlers, and archives that differ every time."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.model_server import BODIES, HANDLERS, MAKE, PEERS

MB = 1_000_000
ECHO = """
class Service:
    def initialize(self, context):
        with open("weights", "rb") as file:
            self.weights = file.read()

    def handle(self, data, context):
        return [data[0]["body"]]
"""
# The versions that the peers' environment has (requirements/peers.in).
REQUIREMENTS = {
    "weights": "",
    "sklearn": "scikit-learn==1.2.2\nnumpy==1.23.5\nscipy<1.12\n",
    "mxnet": "mxnet==1.9.1\nnumpy==1.23.5\n",
}
SERVICES = {"weights": ECHO, "sklearn": HANDLERS["sklearn"], "mxnet": HANDLERS["mxnet"]}
ENTRY = "service.py:Service"
ENTRY_OF_MODEL = "service"  # the form in which MMS finds a class


@dataclass(frozen=True, slots=True)
class Case:
    """One sort of model. `weights_bytes` of `weights` that compress to about half, or not at all;
    0: the files that `MAKE` has made."""

    name: str
    kind: str
    weights_bytes: int = 0
    compresses: bool = False

    @property
    def large(self) -> bool:
        return self.weights_bytes >= MB

    @property
    def body(self) -> bytes:
        return BODIES.get(self.kind, b"x")


CASES = (
    Case("echo", "weights", 1000),
    Case("scikit-learn", "sklearn"),
    Case("SqueezeNet (MXNet)", "mxnet"),
    Case("50 MB", "weights", 50 * MB),
    Case("50 MB compressible", "weights", 50 * MB, compresses=True),
    Case("200 MB", "weights", 200 * MB),
    Case("200 MB compressible", "weights", 200 * MB, compresses=True),
)


def make_files(folder: Path) -> None:
    """The files of the models of frameworks, made by the peers' Python."""
    for kind in ("sklearn", "mxnet"):
        (folder / kind).mkdir(parents=True)
    subprocess.run([PEERS / "bin/python", "-W", "ignore", "-c", MAKE, folder], check=True)


def make_image(folder: Path, kind: str) -> Path:
    """The source of a handler image that imports what models of the kind import."""
    folder.mkdir()
    (folder / "service.py").write_text(SERVICES[kind])
    toml = f'handler = "{ENTRY}"\n'
    if REQUIREMENTS[kind]:
        (folder / "requirements.txt").write_text(REQUIREMENTS[kind])
        toml += 'requirements = "requirements.txt"\n'
    (folder / "image.toml").write_text(toml)
    return folder


class Archives:
    """The archives of one case: equal but for a few random bytes, so that none is known already.

    They are two gzip members, of which the second, with the model, is packed once (level 1).
    """

    def __init__(self, case: Case, made: Path) -> None:
        packed = io.BytesIO()
        with (
            gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1, mtime=0) as member,
            tarfile.open(fileobj=member, mode="w|") as archive,
        ):
            for name, data in _files(case, made):
                _add(archive, name, data)
        self._model = packed.getvalue()

    def another(self) -> bytes:
        """An archive that nobody has seen."""
        salt = io.BytesIO()
        with tarfile.open(fileobj=salt, mode="w", format=tarfile.GNU_FORMAT) as archive:
            _add(archive, "salt", os.urandom(16))
        entry = salt.getvalue()[: 2 * tarfile.BLOCKSIZE]  # without the end of the archive
        return gzip.compress(entry, 1, mtime=0) + self._model


def _files(case: Case, made: Path) -> Iterator[tuple[str, bytes]]:
    model = {"modelName": case.kind, "handler": ENTRY_OF_MODEL}
    manifest = {"runtime": "python", "model": model}
    yield "MAR-INF/MANIFEST.json", json.dumps(manifest).encode()
    yield "service.py", SERVICES[case.kind].encode()
    if not case.weights_bytes:
        yield from ((path.name, path.read_bytes()) for path in sorted((made / case.kind).iterdir()))
        return
    weights = os.urandom(case.weights_bytes)
    if case.compresses:
        weights = weights.translate(bytes(number & 15 for number in range(256)))
    yield "weights", weights


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))
