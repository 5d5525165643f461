"""A process's output in a file that cannot grow without end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)

KEPT = 3  # rotated files: NAME.1 is the newest
_READ_BYTES = 65536


class LogFile:
    """Appends what comes out of a pipe to `path`; at `bytes_max` the file becomes `path.1`."""

    def __init__(self, path: Path, bytes_max: int) -> None:
        self._path = path
        self._bytes_max = bytes_max
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def pipe(self) -> int:
        """A descriptor to write to; the caller closes it once a child has its copy."""
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        asyncio.get_running_loop().add_reader(read_end, self._copy, read_end)
        return write_end

    def _copy(self, read_end: int) -> None:
        try:
            data = os.read(read_end, min(_READ_BYTES, self._bytes_max))
        except BlockingIOError:
            return
        if not data:  # the child, and whoever it gave the pipe to, is gone
            asyncio.get_running_loop().remove_reader(read_end)
            os.close(read_end)
            return
        try:
            self._write(data)
        except OSError as error:  # a full disk must not stop the child
            log.warning("log.dropped", extra={"path": str(self._path), "error": str(error)})

    def _write(self, data: bytes) -> None:
        with self._path.open("ab", buffering=0) as file:
            full = 0 < file.tell() > self._bytes_max - len(data)
            if not full:
                file.write(data)
        if full:
            self._rotate()
            self._path.write_bytes(data)

    def _rotate(self) -> None:
        for number in range(KEPT - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                self._numbered(number).replace(self._numbered(number + 1))
        self._path.replace(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
