"""Unpacks a `.tar.gz` that may be anybody's, while it arrives, into a folder of its own.

Whatever the archive says, nothing is written outside that folder: it is new and private, every
parent folder in it was made here, a file is only ever created and never opened, and a link may only
lead to what lies inside. `tarfile` reads the headers (GNU, pax, ustar, old); what is done about
them is decided here, at least as strictly as its `data` filter decides.
"""

from __future__ import annotations

import errno
import os
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from modelplex.instance.gunzip import Gunzip, Refused, bomb

BLOCK_BYTES = 4096  # what a file system gives out at least; also counted for each entry
HEADERS_MAX = 1024 * 1024  # metadata of one entry
DEPTH_MAX = 100  # folders within folders
SHOWN_MAX = 120  # characters of an entry's name in a message
KINDS = {
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a named pipe",
}
UNNAMEABLE = (errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.EILSEQ)
UNREADABLE = (tarfile.TarError, ValueError, OverflowError, RecursionError, IndexError)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an archive may take: bytes on the disk, entries, and unpacked bytes (else a bomb)."""

    disk_bytes: int
    entries: int
    unpacked_bytes: int


class Overran(Exception):
    """More bytes on the disk than the bounds allow; `.needed_bytes` is what it had come to."""

    def __init__(self, needed_bytes: int) -> None:
        super().__init__(f"needs {needed_bytes} bytes or more")
        self.needed_bytes = needed_bytes


def unpack(chunks: Iterable[bytes], folder: Path, bounds: Bounds) -> int:
    """Unpack the archive into `folder`, which must not exist; returns the bytes taken on the disk.

    Raises Refused (damaged or hostile), Overran, OSError (the disk), and what `chunks` raises. What
    had been written by then stays in `folder`, for the caller to remove.
    """
    stream = Gunzip(chunks, bounds.unpacked_bytes, HEADERS_MAX)
    folder.mkdir(mode=0o755)
    return _Unpacking(stream, folder, bounds).run()


class _Unpacking:
    """One archive on its way to the disk."""

    def __init__(self, stream: Gunzip, folder: Path, bounds: Bounds) -> None:
        self._stream = stream
        self._root = folder
        self._bounds = bounds
        self._made = {"."}  # folders made here; the only ones that anything is put into
        self._entries = 0
        self._disk_bytes = 0

    def run(self) -> int:
        tar = self._open()
        while (entry := self._next(tar)) is not None:
            self._count(entry)
            self._extract(entry)
        self._expect_end()
        return self._disk_bytes

    def _open(self) -> tarfile.TarFile:
        try:
            return tarfile.TarFile(fileobj=self._stream, mode="r")  # type: ignore[arg-type]
        except UNREADABLE as error:
            raise Refused(f"it is not a tar archive inside ({error})") from None

    def _next(self, tar: tarfile.TarFile) -> tarfile.TarInfo | None:
        self._stream.next_entry()
        try:
            entry = tar.next()
        except UNREADABLE as error:
            where = f"after entry {self._entries}"
            raise Refused(f"its tar archive is damaged {where} ({error})") from None
        tar.members.clear()  # type: ignore[attr-defined]  # tarfile would collect all of them
        return entry

    def _expect_end(self) -> None:
        """`tarfile` stops silently at a damaged header: only a block of zeros is an end."""
        if self._stream.last_read.strip(b"\0"):
            raise Refused(f"its tar archive is damaged after entry {self._entries} (bad header)")
        if not self._entries:
            raise Refused("it is an empty archive")
        self._stream.expect_padding()

    # -- one entry ----------------------------------------------------------------------------

    def _count(self, entry: tarfile.TarInfo) -> None:
        self._entries += 1
        if self._entries > self._bounds.entries:
            raise Refused(f"it has more than {self._bounds.entries} entries")
        if entry.size > self._bounds.unpacked_bytes:
            raise bomb(self._bounds.unpacked_bytes)
        if entry.size < 0:
            raise _refusal(entry, f"has an impossible size, {entry.size} bytes")

    def _extract(self, entry: tarfile.TarInfo) -> None:
        name = _inside(entry)
        try:
            self._write(entry, name)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise _refusal(entry, "appears twice, or lies below what is not a folder") from None
        except OSError as error:
            if error.errno in UNNAMEABLE:
                raise _refusal(entry, f"has an impossible name ({error.strerror})") from None
            raise

    def _write(self, entry: tarfile.TarInfo, name: str) -> None:
        if entry.issparse():
            raise _refusal(entry, "is a sparse file; pack it without --sparse")
        if entry.isdir():
            return self._make_folder(name)
        if name == ".":
            raise _refusal(entry, "has no name")
        self._make_folder(os.path.dirname(name) or ".")
        if entry.isreg():
            return self._write_file(entry, name)
        if entry.issym():
            return self._link(entry, name)
        if entry.islnk():
            return self._hard_link(entry, name)
        raise _refusal(entry, f"is {KINDS.get(entry.type, f'of unknown type {entry.type!r}')}")

    def _make_folder(self, name: str) -> None:
        """Make `name` and what is missing above it; FileExistsError where something else is."""
        if name in self._made:
            return
        self._make_folder(os.path.dirname(name) or ".")
        self._charge(BLOCK_BYTES)
        os.mkdir(self._root / name, 0o755)
        self._made.add(name)

    def _write_file(self, entry: tarfile.TarInfo, name: str) -> None:
        self._charge(entry.size)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        mode = 0o755 if entry.mode & 0o100 else 0o644  # nothing else survives, setuid least of all
        with open(os.open(self._root / name, flags, mode), "wb", buffering=0) as file:
            left = entry.size
            for piece in self._stream.pieces(entry.size):
                _write_all(file.fileno(), piece)
                left -= len(piece)
        if left:
            raise _refusal(entry, "is truncated")

    def _link(self, entry: tarfile.TarInfo, name: str) -> None:
        """A symbolic link that cannot lead out: it may climb first, at most to the top, then fall.

        Its own folders are real ones, so climbing means what it says; and what it falls through
        may be other links, of which the same is true.
        """
        self._charge(BLOCK_BYTES)
        steps = _components(entry, entry.linkname)
        falling = [step for step in steps if step != ".."]
        if steps[len(steps) - len(falling) :] != falling:
            raise _refusal(entry, f"is a link that turns around, {_shown(entry.linkname)}")
        if len(steps) - len(falling) > name.count("/"):
            raise _refusal(entry, f"is a link to the outside, {_shown(entry.linkname)}")
        os.symlink("/".join(steps) or ".", self._root / name)

    def _hard_link(self, entry: tarfile.TarInfo, name: str) -> None:
        """Another name of a file that was unpacked before; never of a link."""
        steps = _components(entry, entry.linkname)
        target = self._root.joinpath(*steps)
        inside = ".." not in steps and (os.path.dirname("/".join(steps)) or ".") in self._made
        if not inside or target.is_symlink() or not target.is_file():
            raise _refusal(entry, f"is a hard link to no file before it, {_shown(entry.linkname)}")
        self._charge(0)
        os.link(target, self._root / name)

    def _charge(self, size: int) -> None:
        self._disk_bytes += -(-size // BLOCK_BYTES) * BLOCK_BYTES or BLOCK_BYTES
        if self._disk_bytes > self._bounds.disk_bytes:
            raise Overran(self._disk_bytes)


def _inside(entry: tarfile.TarInfo) -> str:
    """The entry's name below the folder, "." for the folder itself; Refused if it leads out."""
    steps = _components(entry, entry.name)
    if ".." in steps:
        raise _refusal(entry, "leads out of the model's folder with '..'")
    return "/".join(steps) or "."


def _components(entry: tarfile.TarInfo, path: str) -> list[str]:
    if path.startswith("/"):
        raise _refusal(entry, f"has an absolute path, {_shown(path)}")
    if "\0" in path:
        raise _refusal(entry, "has a NUL in its path")
    steps = [step for step in path.split("/") if step not in ("", ".")]
    if len(steps) > DEPTH_MAX:
        raise _refusal(entry, f"lies deeper than {DEPTH_MAX} folders")
    return steps


def _refusal(entry: tarfile.TarInfo, reason: str) -> Refused:
    return Refused(f"its entry {_shown(entry.name)} {reason}")


def _shown(name: str) -> str:
    """A name as a message can hold it: quoted, escaped, not too long."""
    return ascii(name if len(name) <= SHOWN_MAX else name[:SHOWN_MAX] + "…")


def _write_all(fd: int, piece: memoryview) -> None:
    while piece:
        piece = piece[os.write(fd, piece) :]
