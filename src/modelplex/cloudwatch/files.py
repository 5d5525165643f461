"""The log files under DIR/logs: folders are groups, files are streams, lines are events.

An instance writes `LOGS/aws/sagemaker/Endpoints/NAME/VARIANT~ID.jsonl` for its own lines and
`VARIANT~ID~MODEL.jsonl` for each model's, one object per line, `{"t": ms, "m": line, "model": name
or null}`, and rotates a full file to `.jsonl.1`, `.2`, `.3`. `~` stands for the `/` between the
parts of a stream's name; in a part, all but letters, digits, `.`, `_` and `-` is percent-encoded.
One writer per file appends in the order of time, so that a moment is found by bisection and a page
costs what it holds.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

_FILE = re.compile(r"(?P<stream>.+)\.jsonl(?:\.(?P<age>[1-9]))?")
_BLOCK = 64 * 1024  # bytes read at a time; files are not kept open in between
_CLOCK_SLACK_MS = 1000  # a file's time of change comes from a coarser clock than a line's


class Rotated(Exception):
    """A file was renamed or deleted while it was being read: list the streams anew."""


@dataclass(frozen=True, slots=True)
class File:
    """A log file, known by its inode since rotation renames it."""

    path: Path
    inode: int
    size_bytes: int
    changed_ms: int

    def read(self, offset: int) -> bytes:
        """One block from `offset` on, b"" at the end. Raises Rotated."""
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_ino != self.inode:
                    raise Rotated(self.path)
                file.seek(offset)
                return file.read(_BLOCK)
        except FileNotFoundError:
            raise Rotated(self.path) from None


@dataclass(frozen=True, slots=True)
class Event:
    """One line. `id` is 56 digits, unique and in the order of (time, stream, place in it); it
    stays the same when the file is rotated."""

    id: str
    t: int  # Unix milliseconds
    message: str
    stream: str


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream and its files, oldest first."""

    name: str
    files: tuple[File, ...]

    def events(self, start_ms: int, end_ms: int, after: str = "") -> Iterator[Event]:
        """Events with start_ms <= t < end_ms and an id beyond `after`, in order."""
        begin = max(start_ms, int(after[:14])) if after else start_ms
        for file in self.files:
            if file.changed_ms >= begin - _CLOCK_SLACK_MS:
                yield from _events(file, self.name, begin, end_ms, after)

    def first_ms(self) -> int | None:
        """The time of the oldest line, or None while there is none."""
        return next((t for file in self.files if (t := _first_ms(file)) is not None), None)

    def last_ms(self) -> int:
        """The time of the newest line, as the file system knows it."""
        return max(file.changed_ms for file in self.files)

    def size_bytes(self) -> int:
        """The size of all files together."""
        return sum(file.size_bytes for file in self.files)


def groups(root: Path) -> Iterator[str]:
    """The names of all log groups under the logs' folder, in order."""
    folders = {path.parent for path in root.rglob("*.jsonl")} if root.is_dir() else set()
    return iter(sorted("/" + str(folder.relative_to(root)) for folder in folders))


def group_folder(root: Path, group: str) -> Path | None:
    """The folder of a log group, or None if there is no such group."""
    parts = group.strip("/").split("/")
    if any(part in ("", ".", "..") for part in parts):
        return None
    folder = root.joinpath(*parts)
    return folder if folder.is_dir() else None


def streams(folder: Path) -> dict[str, Stream]:
    """All streams of a group's folder, by name."""
    files: dict[str, list[tuple[int, File]]] = {}
    for entry in os.scandir(folder):
        match = _FILE.fullmatch(entry.name)
        if match and entry.is_file():
            files.setdefault(_unquoted(match), []).append((-int(match["age"] or 0), _file(entry)))
    return {
        name: Stream(name, tuple(file for _, file in sorted(files[name], key=lambda each: each[0])))
        for name in sorted(files)
    }


def _unquoted(match: re.Match[str]) -> str:
    return "/".join(map(unquote, match["stream"].split("~")))


def _file(entry: os.DirEntry[str]) -> File:
    facts = entry.stat()
    return File(Path(entry.path), facts.st_ino, facts.st_size, int(facts.st_mtime * 1000))


def _events(file: File, stream: str, start_ms: int, end_ms: int, after: str) -> Iterator[Event]:
    prefix = f"{_digits(stream)}{_first_ms(file) or 0:014d}"
    for offset, line in _lines(file, _offset_of(file, start_ms)):
        event = _parse(line, prefix, offset, stream)
        if event is None or event.t < start_ms or event.id <= after:
            continue
        if event.t >= end_ms:
            return
        yield event


def _parse(line: bytes, prefix: str, offset: int, stream: str) -> Event | None:
    try:
        fields = json.loads(line)
        t, message = int(fields["t"]), str(fields["m"])
    except (ValueError, KeyError, TypeError):
        return None  # a line that a kill cut short
    return Event(f"{t:014d}{prefix}{offset:010d}", t, message or " ", stream)


def _digits(stream: str) -> str:
    digest = hashlib.sha256(stream.encode()).digest()
    return f"{int.from_bytes(digest[:8], 'big') % 10**18:018d}"


def _lines(file: File, offset: int) -> Iterator[tuple[int, bytes]]:
    """Whole lines from a line's offset on, with their offsets."""
    rest = b""
    while block := file.read(offset + len(rest)):
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            yield offset, line
            offset += len(line) + 1  # what has no line end yet is still being written


def _first_ms(file: File) -> int | None:
    for _, line in _lines(file, 0):
        event = _parse(line, "", 0, "")
        return event.t if event else None
    return None


def _offset_of(file: File, start_ms: int) -> int:
    """The offset of a line at or before the first one at `start_ms`, found by bisection."""
    low, high = 0, file.size_bytes
    while high - low > _BLOCK:
        middle = (low + high) // 2
        found = _line_after(file, middle)
        if found is None or found[1] >= start_ms:
            high = middle
        else:
            low = found[0]
    return low


def _line_after(file: File, offset: int) -> tuple[int, int] | None:
    """(offset, time) of the first whole line that begins after `offset`."""
    lines = _lines(file, offset)
    next(lines, None)  # the rest of the line that `offset` lies in
    for begin, line in lines:
        event = _parse(line, "", 0, "")
        if event is not None:
            return begin, event.t
    return None
