"""Keeps the log of facts and orders on the disk: the newest of it, in a few segments.

    FOLDER/MILLISECONDS.log     a header with a checkpoint, then a line for every fact

Each segment begins with the state it starts from, so the oldest can be removed and the others still
replay. Nothing is lost when this process dies but the last second.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import modelplex
from modelplex.core.events import Action, Fact
from modelplex.core.log import checkpoint, factlog
from modelplex.core.residency import Residency

log = logging.getLogger(__name__)

SEGMENTS = 4
FLUSH_S = 1.0
TOGETHER = 64  # facts
BUFFER_BYTES = 256 * 1024


class Recorder:
    """Writes one instance's log. A disk that fails costs the log and nothing else."""

    def __init__(self, folder: Path, instance: str, bytes_max: int) -> None:
        """At most `bytes_max` are kept, besides checkpoints; 0: nothing is written."""
        self._folder = folder
        self._instance = instance
        self._segment_bytes = bytes_max // SEGMENTS
        self._file: BinaryIO | None = None
        self._written = 0
        self._flushed_at = 0.0
        self._unwritten: list[tuple[float, Fact, Iterable[Action]]] = []
        self._on = bytes_max > 0

    def before(self, residency: Residency) -> None:
        """To be called before a fact is handed in: begins a segment where it is time for one."""
        if self._on and (self._file is None or self._written >= self._segment_bytes):
            try:
                self._begin(residency)
            except OSError as error:
                self._give_up(error)

    def record(self, now: float, fact: Fact, orders: Iterable[Action]) -> None:
        """One fact, when it was handed in, and what came of it. Some are put into words together:
        that costs half of doing so one by one.
        """
        if self._file is None:
            return
        self._unwritten.append((now, fact, orders))
        if len(self._unwritten) >= TOGETHER or now - self._flushed_at > FLUSH_S:
            self._write(now)

    def _write(self, now: float) -> None:
        entries, self._unwritten = self._unwritten, []
        lines = "".join([factlog.line(*entry) for entry in entries])
        if self._file is None:
            return
        try:
            self._written += self._file.write(lines.encode("utf-8", "surrogatepass"))
            if now - self._flushed_at > FLUSH_S:
                self._flushed_at = now
                self._file.flush()
        except OSError as error:
            self._give_up(error)

    def segments(self) -> list[Path]:
        """The segments of this folder that are complete up to now, the oldest first."""
        self._write(self._flushed_at)
        if self._file is not None:
            try:
                self._file.flush()
            except OSError as error:
                self._give_up(error)
        return sorted(self._folder.glob("*.log"))

    def close(self) -> None:
        """Write what is left."""
        self._on = False
        if self._unwritten:
            self._write(self._flushed_at)
        if self._file is not None:
            file, self._file = self._file, None
            with contextlib.suppress(OSError):  # a full disk must not keep the instance from ending
                file.close()

    def _begin(self, residency: Residency) -> None:
        if self._file is not None:
            self._file.close()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for old in sorted(self._folder.glob("*.log"))[: 1 - SEGMENTS]:
            old.unlink()
        unix = time.time()
        header = factlog.Header(
            instance=self._instance,
            version=modelplex.__version__,
            unix_offset=unix - time.monotonic(),
            checkpoint=checkpoint.take(residency),
        )
        file = (self._folder / f"{int(unix * 1000):013d}.log").open("ab", BUFFER_BYTES)
        file.write(factlog.head(header).encode())
        self._file, self._written = file, 0

    def _give_up(self, error: OSError) -> None:
        log.error("facts.not_recorded", extra={"problem": str(error)})
        self.close()
