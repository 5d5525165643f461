"""Unpacks a zip file (`.mar`, `.zip`) that may be anybody's, into a folder of its own.

Whatever the archive says, nothing is written outside that folder (`tree.py`). `zipfile` reads the
directory; what is done about its entries is decided here. Links are refused, and so is every
packing but "stored" and "deflated", which is what Multi Model Server's Java reads.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

from modelplex.archives import tree
from modelplex.archives.tree import Bounds, Refused, Tree

MAGICS = (b"PK\x03\x04", b"PK\x05\x06")  # with entries, and without
PIECE_BYTES = 256 * 1024
DIRECTORY_BYTES_MAX = 16 * 1024 * 1024  # the list of entries, which `zipfile` holds in memory
TAIL_BYTES_MAX = 128 * 1024  # where the list's place is looked for
UNIX = 3  # the system that an entry's mode means something on
ENCRYPTED = 0x1 | 0x40
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    IndexError,
)


def unzip(file: BinaryIO, folder: Path, bounds: Bounds) -> int:
    """Unpack the open `file` into `folder`, which must not exist; returns bytes taken on the disk.

    Raises Refused (damaged or hostile), Overran, OSError (the disk), and what `file.read`
    raises. What had been written by then stays in `folder`, for the caller to remove.
    """
    into = Tree(folder, bounds)
    try:
        with zipfile.ZipFile(_Metered(file)) as archive:
            return _Unzipping(archive, into, bounds.unpacked_bytes).run()
    except UNREADABLE as error:
        raise Refused(f"its zip archive is damaged after entry {into.entries} ({error})") from None


class _Metered:
    """The file as `zipfile` may read it: never so much at once that memory is at stake."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if size > DIRECTORY_BYTES_MAX:
            raise Refused(f"its list of entries is longer than {DIRECTORY_BYTES_MAX} bytes")
        return self._file.read(TAIL_BYTES_MAX if size < 0 else size)


class _Unzipping:
    """One archive on its way to the disk."""

    def __init__(self, archive: zipfile.ZipFile, into: Tree, unpacked_max: int) -> None:
        self._archive = archive
        self._tree = into
        self._unpacked_max = unpacked_max
        self._unpacked = 0

    def run(self) -> int:
        for entry in self._archive.infolist():
            self._tree.count(entry.orig_filename, entry.file_size)
            name = tree.inside(entry.orig_filename)
            _check(entry)
            self._extract(entry, name)
        if not self._tree.entries:
            raise Refused("it is an empty archive")
        return self._tree.disk_bytes

    def _extract(self, entry: zipfile.ZipInfo, name: str) -> None:
        self._tree.put(entry.orig_filename, lambda: self._write(entry, name))

    def _write(self, entry: zipfile.ZipInfo, name: str) -> None:
        if entry.is_dir():
            return self._tree.make_folder(name)
        if name == ".":
            raise tree.refusal(entry.orig_filename, "has no name")
        self._tree.make_parent(name)
        return self._write_file(entry, name)

    def _write_file(self, entry: zipfile.ZipInfo, name: str) -> None:
        with (
            self._archive.open(entry) as source,
            self._tree.create(name, entry.file_size, _mode(entry)) as file,
        ):
            while piece := source.read(PIECE_BYTES):
                self._unpacked += len(piece)
                if self._unpacked > self._unpacked_max:
                    raise tree.bomb(self._unpacked_max)
                tree.write_all(file, piece)
            if file.tell() != entry.file_size:
                raise tree.refusal(entry.orig_filename, "is truncated")


def _check(entry: zipfile.ZipInfo) -> None:
    """Refuse what is no plain file or folder, or cannot be read by everybody."""
    kind = stat.S_IFMT(_mode(entry))
    if kind == stat.S_IFLNK:
        raise tree.refusal(entry.orig_filename, "is a link; pack the file itself")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise tree.refusal(entry.orig_filename, f"is of unknown type {kind:#o}")
    if entry.flag_bits & ENCRYPTED:
        raise tree.refusal(entry.orig_filename, "is encrypted")
    if entry.compress_type not in PACKINGS:
        raise tree.refusal(entry.orig_filename, "is packed by neither 'stored' nor 'deflated'")


def _mode(entry: zipfile.ZipInfo) -> int:
    return entry.external_attr >> 16 if entry.create_system == UNIX else 0
