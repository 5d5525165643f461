"""An archive on its way from the store into a folder: what is known of it, and how it gets there.

`Here` does that work in the caller's thread, `fetcher.py` in a process of its own.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from modelplex.archives import unpack
from modelplex.archives.gunzip import Times
from modelplex.archives.tree import Bounds
from modelplex.aws.locations import FileLocation, S3Location
from modelplex.instance.artifacts.store import Artifact, Store

Location = S3Location | FileLocation


class Stopped(Exception):
    """The download was stopped from outside."""


@dataclass(slots=True)
class Download:
    """One fetch under way: what has arrived, and the switch that stops it."""

    stop: threading.Event = field(default_factory=threading.Event)
    archive_bytes: int = 0
    received_bytes: int = 0
    content: str = ""  # the SHA-256 of all that was received, once it is whole
    open_s: float = 0.0  # until the store began to answer, the last time that it was asked
    unpack_s: float = 0.0  # of which `times` are parts; the rest is writing
    times: Times = field(default_factory=Times)

    def steps(self) -> dict[str, float]:
        """Where the time went, in milliseconds: until the store began to answer, waiting for its
        bytes, in inflate, reading tar and writing files."""
        waited_s = self.times.arrive_s + self.times.inflate_s
        write_s = max(0.0, self.unpack_s - waited_s)
        seconds = (self.open_s, self.times.arrive_s, self.times.inflate_s, write_s)
        names = ("open", "arrive", "inflate", "write")
        return {name: round(each * 1000, 3) for name, each in zip(names, seconds, strict=True)}


class Opened(Protocol):
    """An archive that the store has; `size`, `version` and `bucket` as `Artifact` has them."""

    @property
    def size(self) -> int: ...
    @property
    def version(self) -> str: ...
    @property
    def bucket(self) -> str: ...

    def unpack(self, folder: Path, bounds: Bounds, download: Download) -> int:
        """Unpack it into `folder`, which must not exist; the bytes taken on the disk.

        `download` learns what was received, also when this fails. Raises Refused, Overran, OSError,
        Unavailable, FetchFailure, Stopped; may be called once.
        """

    def close(self) -> None:
        """No more is wanted of it."""


class Source(Protocol):
    """Where archives come from."""

    def open(self, location: Location) -> Opened:
        """Ask the store for an archive. Raises Unavailable and FetchFailure."""

    def version(self, location: Location) -> str:
        """The version that `open` would find. Raises as `open` does."""


class Here:
    """A source that works in the thread of its caller."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.version = store.version

    def open(self, location: Location) -> OpenedHere:
        return OpenedHere(self._store.open(location))


class OpenedHere:
    """An archive whose bytes pass through this process."""

    def __init__(self, artifact: Artifact) -> None:
        self.size, self.version, self.bucket = artifact.size, artifact.version, artifact.bucket
        self._chunks = artifact.chunks

    def unpack(self, folder: Path, bounds: Bounds, download: Download) -> int:
        download.archive_bytes = self.size
        download.times = Times()
        return unpack.unpack(self._metered(download), folder, bounds, download.times)

    def close(self) -> None:
        self._chunks.close()

    def _metered(self, download: Download) -> Iterator[bytes]:
        """The archive's chunks, counted. Raises Stopped."""
        download.received_bytes = 0
        digest = hashlib.sha256()
        for chunk in self._chunks:
            if download.stop.is_set():
                raise Stopped
            download.received_bytes += len(chunk)
            digest.update(chunk)
            yield chunk
        download.content = digest.hexdigest()
