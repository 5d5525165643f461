"""What handlers and the instance say, as the JSON lines that control serves as CloudWatch Logs.

    FOLDER/VARIANT~ID.jsonl            the instance: models loaded, evicted, failed
    FOLDER/VARIANT~ID~MODEL.jsonl      the output of one model's handler

Characters of names outside [A-Za-z0-9._-] are percent-encoded, so that "~" separates and a file's
name maps back to one stream. A full file becomes `.1`, then `.2`, `.3`, and is then removed.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

KEPT = 3  # rotated files
OPEN_MAX = 64  # files held open, however many models there are
NAME_BYTES_MAX = 220  # of a file's name before its endings; file systems end at 255


class Logs:
    """Appends lines; never raises: a full disk must not stop an answer."""

    def __init__(
        self,
        folder: Path,
        stream: str,
        file_bytes_max: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`stream` is the beginning of all names: `VARIANT~ID`."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._stream = stream
        self._file_bytes_max = file_bytes_max
        self._clock = clock
        self._open: OrderedDict[str | None, _File] = OrderedDict()
        self.lost = 0  # lines that could not be written

    def write(self, model: str | None, line: str) -> None:
        """One line of a model's handler, or of the instance itself."""
        document = {"t": int(self._clock() * 1000), "m": line, "model": model}
        data = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        try:
            self._file(model).append(data)
        except OSError:
            self.lost += 1

    def close(self) -> None:
        """Close the files."""
        while self._open:
            self._open.popitem()[1].close()

    def _file(self, model: str | None) -> _File:
        if (file := self._open.get(model)) is None:
            path = self._folder / file_name(self._stream, model)
            file = self._open[model] = _File(path, self._file_bytes_max)
            if len(self._open) > OPEN_MAX:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(model)
        return file


def stream_name(variant: str, instance: str) -> str:
    """The beginning of an instance's file names."""
    return f"{encoded(variant)}~{encoded(instance)}"


def encoded(name: str) -> str:
    """A name as a file's name can hold it. `~`, which `quote` would leave, separates here."""
    return quote(name, safe="", errors="replace").replace("~", "%7E")


def file_name(stream: str, model: str | None) -> str:
    """The file of a model's output, or of the instance's own lines.

    A name too long for a file system is cut, and a hash of all of it keeps it apart from others.
    """
    if model is None:
        return f"{stream}.jsonl"
    name = encoded(model)
    if len(stream) + len(name) > NAME_BYTES_MAX:
        cut = model[: (NAME_BYTES_MAX - len(stream)) // 12]  # a character may take 12 bytes
        name = f"{encoded(cut)}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return f"{stream}~{name}.jsonl"


class _File:
    """One file that is appended to and rotated by size."""

    def __init__(self, path: Path, bytes_max: int) -> None:
        self._path = path
        self._bytes_max = bytes_max
        self._reopen()

    def append(self, data: bytes) -> None:
        if self._size and self._size + len(data) > self._bytes_max:
            self._rotate()
        os.write(self._fd, data)
        self._size += len(data)

    def close(self) -> None:
        os.close(self._fd)

    def _reopen(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(self._path, flags, 0o600)
        self._size = os.fstat(self._fd).st_size

    def _rotate(self) -> None:
        self.close()
        numbered = [self._path.with_name(f"{self._path.name}.{n}") for n in range(1, KEPT + 1)]
        for old, new in reversed(list(itertools.pairwise([self._path, *numbered]))):
            if old.exists():
                old.replace(new)
        self._reopen()
