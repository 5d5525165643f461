"""Archives for tests: honest ones, and entries that nobody honest would pack."""

from __future__ import annotations

import gzip
import io
import tarfile
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Entry:
    """One entry of an archive; `also` sets further attributes of its `TarInfo`."""

    name: str
    data: bytes = b""
    type: bytes = tarfile.REGTYPE
    linkname: str = ""
    mode: int = 0o644
    also: dict[str, object] = field(default_factory=dict)


def tar(*entries: Entry, form: int = tarfile.PAX_FORMAT) -> bytes:
    """The entries as an uncompressed archive, exactly as given."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for entry in entries:
            info = tarfile.TarInfo(entry.name)
            info.size, info.type, info.mode = len(entry.data), entry.type, entry.mode
            info.linkname = entry.linkname
            for name, value in entry.also.items():
                setattr(info, name, value)
            archive.addfile(info, io.BytesIO(entry.data))
    return buffer.getvalue()


def targz(*entries: Entry) -> bytes:
    """The entries as a `.tar.gz`."""
    return gzip.compress(tar(*entries), mtime=0)


def symlink(name: str, target: str) -> Entry:
    """A symbolic link."""
    return Entry(name, type=tarfile.SYMTYPE, linkname=target)


def hard_link(name: str, target: str) -> Entry:
    """A hard link."""
    return Entry(name, type=tarfile.LNKTYPE, linkname=target)
