"""Log files that are rolled by their size: NAME, then NAME.1 (the newest) to NAME.5."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

STDOUT = 1


class RolledFile:
    """A log file, appended to; never longer than `bytes_max` unless by one write."""

    def __init__(self, path: Path, bytes_max: int, kept: int) -> None:
        self._path = path
        self._bytes_max = bytes_max
        self._kept = kept
        self._fd = -1
        self._size = 0
        self._failed = False

    def write(self, data: bytes) -> None:
        """Append whole lines. A file that cannot be written is reported once, and tried again."""
        try:
            if self._fd < 0:
                self._open()
            if self._size and self._size + len(data) > self._bytes_max:
                self._roll()
            self._size += os.write(self._fd, data)
            self._failed = False
        except OSError as error:
            self.close()
            if not self._failed:
                reason = error.strerror or str(error)
                print(f"modelplex: cannot write {self._path}: {reason}", file=sys.stderr)
            self._failed = True

    def close(self) -> None:
        """Close the file; a later write opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(self._path, flags, 0o644)
        self._size = os.fstat(self._fd).st_size

    def _roll(self) -> None:
        self.close()
        names = [self._path, *(Path(f"{self._path}.{n}") for n in range(1, self._kept + 1))]
        for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
            with contextlib.suppress(FileNotFoundError):
                os.replace(newer, older)
        self._open()


class Console:
    """Standard output. What nobody reads is lost, like everything a console shows."""

    def write(self, data: bytes) -> None:
        """Write whole lines; waits while the reader does not take them."""
        with contextlib.suppress(OSError):
            while data:
                data = data[os.write(STDOUT, data) :]

    def close(self) -> None:
        """Standard output stays open."""
