"""An archive on its way from the store into a folder, and what is known of it meanwhile."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from modelplex.archives import unpack as archives
from modelplex.archives.gunzip import Times
from modelplex.archives.tree import Bounds
from modelplex.instance.artifacts.store import Artifact


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


def unpack(artifact: Artifact, folder: Path, bounds: Bounds, download: Download) -> int:
    """Unpack an open archive into `folder`, which must not exist; the bytes taken on the disk.

    `download` learns what was received, also when this fails. Raises Refused, Overran, OSError,
    Unavailable, FetchFailure, Stopped.
    """
    download.archive_bytes = artifact.size
    download.times = Times()
    return archives.unpack(_metered(artifact, download), folder, bounds, download.times)


def _metered(artifact: Artifact, download: Download) -> Iterator[bytes]:
    """The archive's chunks, counted. Raises Stopped."""
    download.received_bytes = 0
    digest = hashlib.sha256()
    for chunk in artifact.chunks:
        if download.stop.is_set():
            raise Stopped
        download.received_bytes += len(chunk)
        digest.update(chunk)
        yield chunk
    download.content = digest.hexdigest()
