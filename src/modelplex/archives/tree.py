"""The folder that an archive is unpacked into, and nothing outside it.

Whatever the archive says: the folder is new and private, every parent folder in it was made here,
a file is only ever created and never opened, and each thing is charged against the bounds.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

BLOCK_BYTES = 4096  # what a file system gives out at least; also counted for each entry
DEPTH_MAX = 100  # folders within folders
SHOWN_MAX = 120  # characters of an entry's name in a message
UNNAMEABLE = (errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.EILSEQ)


class Refused(Exception):
    """An archive that is damaged or hostile; the message is a clause that names what and where."""


class Overran(Exception):
    """More bytes on the disk than the bounds allow; `.needed_bytes` is what it had come to."""

    def __init__(self, needed_bytes: int) -> None:
        super().__init__(f"needs {needed_bytes} bytes or more")
        self.needed_bytes = needed_bytes


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an archive may take: bytes on the disk, entries, and unpacked bytes (else a bomb)."""

    disk_bytes: int
    entries: int
    unpacked_bytes: int


class Tree:
    """What has been made of one archive so far. Names are relative, "." is the folder itself."""

    def __init__(self, folder: Path, bounds: Bounds) -> None:
        """`folder` must not exist; it is made."""
        folder.mkdir(mode=0o755)
        self.root = folder
        self.entries = 0
        self.disk_bytes = 0
        self._bounds = bounds
        self._made = {"."}  # folders made here; the only ones that anything is put into

    def count(self, name: str, size: int) -> None:
        """One more entry, of `size` unpacked bytes."""
        self.entries += 1
        if self.entries > self._bounds.entries:
            raise Refused(f"it has more than {self._bounds.entries} entries")
        if size > self._bounds.unpacked_bytes:
            raise bomb(self._bounds.unpacked_bytes)
        if size < 0:
            raise refusal(name, f"has an impossible size, {size} bytes")

    def put(self, name: str, write: Callable[[], None]) -> None:
        """Run `write`, which makes the entry; what the disk says against its name is a refusal."""
        try:
            write()
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise refusal(name, "appears twice, or lies below what is not a folder") from None
        except OSError as error:
            if error.errno in UNNAMEABLE:
                raise refusal(name, f"has an impossible name ({error.strerror})") from None
            raise

    def make_folder(self, name: str) -> None:
        """Make `name` and what is missing above it; FileExistsError where something else is."""
        if name in self._made:
            return
        self.make_parent(name)
        self.charge(BLOCK_BYTES)
        os.mkdir(self.root / name, 0o755)
        self._made.add(name)

    def make_parent(self, name: str) -> None:
        """Make the folder that `name` lies in."""
        self.make_folder(os.path.dirname(name) or ".")

    def holds(self, steps: list[str]) -> bool:
        """Whether the path is directly in a folder that was made here."""
        return ".." not in steps and (os.path.dirname("/".join(steps)) or ".") in self._made

    def create(self, name: str, size: int, mode: int) -> BinaryIO:
        """A new file to write `size` bytes to. Only the right to execute survives of `mode`."""
        self.charge(size)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        kept = 0o755 if mode & 0o100 else 0o644  # setuid least of all
        return open(os.open(self.root / name, flags, kept), "wb", buffering=0)

    def charge(self, size: int) -> None:
        """Count `size` bytes in whole blocks, at least one."""
        self.disk_bytes += _blocks(size)
        if self.disk_bytes > self._bounds.disk_bytes:
            raise Overran(self.disk_bytes)


def taken_bytes(folder: Path) -> int:
    """What all that is in a folder takes, counted as while it is unpacked."""
    taken = 0
    for place, folders, files in os.walk(folder):
        taken += len(folders) * BLOCK_BYTES
        taken += sum(_blocks(os.lstat(os.path.join(place, name)).st_size) for name in files)
    return taken


def _blocks(size: int) -> int:
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES or BLOCK_BYTES


def inside(name: str) -> str:
    """An entry's name below the folder, "." for the folder itself; Refused if it leads out."""
    steps = components(name, name)
    if ".." in steps:
        raise refusal(name, "leads out of the model's folder with '..'")
    return "/".join(steps) or "."


def components(name: str, path: str) -> list[str]:
    """The steps of a `path` that the entry `name` gives."""
    if path.startswith("/"):
        raise refusal(name, f"has an absolute path, {shown(path)}")
    if "\0" in path:
        raise refusal(name, "has a NUL in its path")
    steps = [step for step in path.split("/") if step not in ("", ".")]
    if len(steps) > DEPTH_MAX:
        raise refusal(name, f"lies deeper than {DEPTH_MAX} folders")
    return steps


def refusal(name: str, reason: str) -> Refused:
    """The refusal of one entry."""
    return Refused(f"its entry {shown(name)} {reason}")


def bomb(unpacked_max: int) -> Refused:
    """The refusal of an archive that unpacks to too much."""
    return Refused(
        f"it unpacks to more than {unpacked_max} bytes, which no honest archive of its size does"
    )


def shown(name: str) -> str:
    """A name as a message can hold it: quoted, escaped, not too long."""
    return ascii(name if len(name) <= SHOWN_MAX else name[:SHOWN_MAX] + "…")


def write_all(file: BinaryIO, piece: bytes | memoryview) -> None:
    """Write the whole piece; an unbuffered file may take less at a time."""
    left = memoryview(piece)
    while left:
        left = left[file.write(left) :]
