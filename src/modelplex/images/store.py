"""The built images of one data folder: names, and the folders they stand for.

images/refs.json         NAME:TAG -> hash
images/HASH/image.json   written last: a folder without it is no image
images/HASH/code/        what the user gave
images/HASH/env/         its virtual environment
images/HASH.lock         held while HASH is being built
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HANDLER, COMMAND = "handler", "command"  # what an image is run as
FORMAT = 1  # part of every content hash: another way of building gives other images

_ECR = r"(?:\d{12}\.dkr\.ecr(?:-fips)?\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?/)?"
_REFERENCE = re.compile(
    _ECR + r"(?P<name>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)(?::(?P<tag>\w[\w.-]{0,127}))?", re.ASCII
)


class BadName(ValueError):
    """A text that cannot be an image's name."""


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image that is whole and can be run."""

    name: str  # NAME:TAG it was found by
    hash: str
    folder: Path  # what the user gave: the handler's code, the command's working directory
    python: Path  # the interpreter of its own environment
    python_version: str
    handler: str  # "" for an image with a command
    preload: tuple[str, ...]  # modules that the handler imports, to be imported before forking
    environment: dict[str, str]  # defaults; the model's own go before them
    built_at: float  # Unix seconds
    models_per_worker: int = 1  # more: its handlers can share a process
    share_identical: bool = True  # byte-identical models may share files and memory
    command: tuple[str, ...] = ()  # of a container that speaks the contract; () for a handler
    batch_max: int = 1  # requests that the handler answers in one call
    prepare: str = ""  # called once for each artifact, "FILE.py:FUNCTION"; "": nothing is

    @property
    def kind(self) -> str:
        """COMMAND or HANDLER."""
        return COMMAND if self.command else HANDLER


def normal_name(text: str) -> str:
    """`NAME:TAG` of NAME, NAME:TAG or an ECR address of either. Raises BadName."""
    if (match := _REFERENCE.fullmatch(text)) is None:
        raise BadName(
            f"{text!r} is not an image's name: write NAME or NAME:TAG in lower case,"
            " or ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:TAG."
        )
    return f"{match['name']}:{match['tag'] or 'latest'}"


class ImageStore:
    """Looks images up by name; `images.build` fills it. Several processes may use one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def resolve(self, name: str) -> BuiltImage | None:
        """The image behind any spelling of its name, or None."""
        try:
            normal = normal_name(name)
        except BadName:
            return None
        digest = self._refs().get(normal)
        return self.read(digest, normal) if digest else None

    def read(self, digest: str, name: str) -> BuiltImage | None:
        """The image with this content hash, or None while it is not whole."""
        folder = self.root / digest
        try:
            document = json.loads((folder / "image.json").read_text())
        except FileNotFoundError:
            return None
        return BuiltImage(
            name=name,
            hash=digest,
            folder=folder / "code",
            python=folder / "env" / "bin" / "python",
            python_version=document["python"],
            handler=document["handler"],
            preload=tuple(document["preload"]),
            environment=dict(document["environment"]),
            built_at=document["built_at"],
            models_per_worker=document.get("models_per_worker", 1),  # older images have none
            share_identical=document.get("share_identical", True),
            command=tuple(document.get("command", ())),
            batch_max=document.get("batch_max", 1),
            prepare=document.get("prepare", ""),
        )

    def all(self) -> tuple[BuiltImage, ...]:
        """Every named image, by name."""
        found = (self.read(digest, name) for name, digest in sorted(self._refs().items()))
        return tuple(image for image in found if image)

    def tag(self, name: str, digest: str) -> None:
        """Let `name` stand for `digest` from now on. Raises BadName."""
        with self._changing_refs() as refs:
            refs[normal_name(name)] = digest

    def remove(self, name: str) -> bool:
        """Forget a name (False: there was none); the folder stays until `prune`."""
        with self._changing_refs() as refs:
            return refs.pop(normal_name(name), None) is not None

    def prune(self, in_use: set[str]) -> list[str]:
        """Delete images that no name and nobody in `in_use` (hashes) stands for; their hashes."""
        keep = set(self._refs().values()) | in_use
        folders = [each for each in self.root.glob("*") if each.is_dir() and each.name not in keep]
        return [each.name for each in sorted(folders) if self._delete(each.name)]

    def sweep(self) -> None:
        """Delete what builds that were killed left behind."""
        for folder in self.root.glob("*/"):
            if not (folder / "image.json").exists():
                self._delete(folder.name)

    def delete_unfinished(self, digest: str) -> None:
        """Delete what a build left; the caller holds the image's lock."""
        shutil.rmtree(self.root / digest, ignore_errors=True)

    @contextmanager
    def locked(self, digest: str, on_wait: Callable[[], bool] = lambda: True) -> Iterator[bool]:
        """Hold the lock under which an image is made or deleted; yields whether it was got.

        If somebody else holds it, `on_wait` says whether to wait.
        """
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.root / f"{digest}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not on_wait():
                    yield False
                    return
                fcntl.flock(file, fcntl.LOCK_EX)
            yield True

    def _delete(self, digest: str) -> bool:
        with self.locked(digest, lambda: False) as held:
            if held:
                (self.root / digest / "image.json").unlink(missing_ok=True)
                self.delete_unfinished(digest)
            return held

    def _refs(self) -> dict[str, str]:
        try:
            return dict(json.loads((self.root / "refs.json").read_text()))
        except FileNotFoundError:
            return {}

    @contextmanager
    def _changing_refs(self) -> Iterator[dict[str, str]]:
        with self.locked("refs"):
            refs = self._refs()
            yield refs
            write_json(self.root / "refs.json", refs)


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a file so that after a crash it is there whole or as it was before."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    with temporary.open("w") as file:
        json.dump(document, file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
