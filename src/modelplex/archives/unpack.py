"""Unpacks a `.tar.gz` that may be anybody's, while it arrives, into a folder of its own.

Whatever the archive says, nothing is written outside that folder (`tree.py`), and a link may only
lead to what lies inside. `tarfile` reads the headers (GNU, pax, ustar, old); what is done about
them is decided here, at least as strictly as its `data` filter decides.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from modelplex.archives import tree
from modelplex.archives.ahead import ahead
from modelplex.archives.gunzip import Gunzip, Times
from modelplex.archives.tree import BLOCK_BYTES, Bounds, Refused, Tree

HEADERS_MAX = 1024 * 1024  # metadata of one entry
KINDS = {
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a named pipe",
}
UNREADABLE = (tarfile.TarError, ValueError, OverflowError, RecursionError, IndexError)


def unpack(
    chunks: Iterable[bytes], folder: Path, bounds: Bounds, times: Times | None = None
) -> int:
    """Unpack the archive into `folder`, which must not exist; returns the bytes taken on the disk.

    `times` learns where the time went.

    Raises Refused (damaged or hostile), Overran, OSError (the disk), and what `chunks` raises. What
    had been written by then stays in `folder`, for the caller to remove.
    """
    with closing(ahead(iter(chunks))) as arriving:
        stream = Gunzip(arriving, bounds.unpacked_bytes, HEADERS_MAX)
        stream.times = times or stream.times
        return _Unpacking(stream, Tree(folder, bounds)).run()


class _Unpacking:
    """One archive on its way to the disk."""

    def __init__(self, stream: Gunzip, into: Tree) -> None:
        self._stream = stream
        self._tree = into

    def run(self) -> int:
        tar = self._open()
        while (entry := self._next(tar)) is not None:
            self._tree.count(entry.name, entry.size)
            self._extract(entry)
        self._expect_end()
        return self._tree.disk_bytes

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
            where = f"after entry {self._tree.entries}"
            raise Refused(f"its tar archive is damaged {where} ({error})") from None
        tar.members.clear()  # type: ignore[attr-defined]  # tarfile would collect all of them
        return entry

    def _expect_end(self) -> None:
        """`tarfile` stops silently at a damaged header: only a block of zeros is an end."""
        if self._stream.last_read.strip(b"\0"):
            raise Refused(
                f"its tar archive is damaged after entry {self._tree.entries} (bad header)"
            )
        if not self._tree.entries:
            raise Refused("it is an empty archive")
        self._stream.expect_padding()

    # -- one entry ----------------------------------------------------------------------------

    def _extract(self, entry: tarfile.TarInfo) -> None:
        name = tree.inside(entry.name)
        self._tree.put(entry.name, lambda: self._write(entry, name))

    def _write(self, entry: tarfile.TarInfo, name: str) -> None:
        if entry.issparse():
            raise tree.refusal(entry.name, "is a sparse file; pack it without --sparse")
        if entry.isdir():
            return self._tree.make_folder(name)
        if name == ".":
            raise tree.refusal(entry.name, "has no name")
        self._tree.make_parent(name)
        if entry.isreg():
            return self._write_file(entry, name)
        if entry.issym():
            return self._link(entry, name)
        if entry.islnk():
            return self._hard_link(entry, name)
        kind = KINDS.get(entry.type, f"of unknown type {entry.type!r}")
        raise tree.refusal(entry.name, f"is {kind}")

    def _write_file(self, entry: tarfile.TarInfo, name: str) -> None:
        left = entry.size
        with self._tree.create(name, entry.size, entry.mode) as file:
            for piece in self._stream.pieces(entry.size):
                tree.write_all(file, piece)
                left -= len(piece)
        if left:
            raise tree.refusal(entry.name, "is truncated")

    def _link(self, entry: tarfile.TarInfo, name: str) -> None:
        """A symbolic link that cannot lead out: it may climb first, at most to the top, then fall.

        Its own folders are real ones, so climbing means what it says; and what it falls through
        may be other links, of which the same is true.
        """
        self._tree.charge(BLOCK_BYTES)
        steps = tree.components(entry.name, entry.linkname)
        falling = [step for step in steps if step != ".."]
        target = tree.shown(entry.linkname)
        if steps[len(steps) - len(falling) :] != falling:
            raise tree.refusal(entry.name, f"is a link that turns around, {target}")
        if len(steps) - len(falling) > name.count("/"):
            raise tree.refusal(entry.name, f"is a link to the outside, {target}")
        os.symlink("/".join(steps) or ".", self._tree.root / name)

    def _hard_link(self, entry: tarfile.TarInfo, name: str) -> None:
        """Another name of a file that was unpacked before; never of a link."""
        steps = tree.components(entry.name, entry.linkname)
        target = self._tree.root.joinpath(*steps)
        if not self._tree.holds(steps) or target.is_symlink() or not target.is_file():
            where = tree.shown(entry.linkname)
            raise tree.refusal(entry.name, f"is a hard link to no file before it, {where}")
        self._tree.charge(0)
        os.link(target, self._tree.root / name)
