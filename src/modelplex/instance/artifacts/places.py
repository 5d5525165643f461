"""Who has what on an instance's disk (`layout.py`).

An artifact moves into `models/` by one rename, record and all. A model's files are hard links to
its content's, in folders of its own: what it adds, removes or replaces is nobody else's, and to
write into a file is not permitted (docs/decisions/0014). Nothing is synced: after a power failure
of the machine the operator empties the folder.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import threading
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from modelplex.instance.artifacts.layout import Layout

log = logging.getLogger(__name__)

Archive = tuple[str, str, int]  # bucket, ETag and length: byte-identical if all three are equal

SEALED_FILE, SEALED_FOLDER, OPEN_FOLDER = 0o444, 0o555, 0o755


@dataclass(frozen=True, slots=True)
class Found:
    """An artifact on the disk: its bytes there, its content ("": shared with nobody) and version.

    `version` is the store's ETag, "" where it has none.
    """

    disk_bytes: int
    content: str
    version: str


@dataclass(frozen=True, slots=True)
class Record:
    """What `record.json` says: whose artifact this is, and where it came from."""

    model: str
    location: str
    archive_bytes: int
    disk_bytes: int
    content: str = ""
    version: str = ""
    bucket: str = ""

    @property
    def found(self) -> Found:
        return Found(self.disk_bytes, self.content, self.version)

    @property
    def archive(self) -> Archive:
        return self.bucket, self.version, self.archive_bytes


class Places:
    """Models by key, and the contents that they hold. Its methods may run in several threads."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lock = threading.Lock()  # of what follows, and of the renames that go with it
        self._records: dict[str, Record] = {}
        self._known: dict[Archive, Found] = {}  # what archives hold that need no download
        self._holders: dict[str, set[str]] = {}  # content -> keys, and folders of fetches
        self._held: dict[str, str] = {}  # the same by holder

    def recover(self, good: Callable[[Record], bool]) -> dict[str, Found]:
        """What an earlier life left: whole artifacts with a `good` record. All else is removed."""
        remove(self._layout.temporary)
        for folder in (self._layout.temporary, self._layout.models, self._layout.contents):
            folder.mkdir(parents=True, exist_ok=True)
        for memory in (self._records, self._known, self._holders, self._held):
            memory.clear()
        for place in sorted(self._layout.models.iterdir(), key=_touched_at):
            record = self._read_record(place)
            if record and good(record):
                self._note(record)
            else:
                log.warning("artifact.incomplete", extra={"folder": place.name})
                remove(place)
        for content in sorted(self._layout.contents.iterdir()):
            if content.name not in self._holders:
                log.warning("content.unused", extra={"folder": content.name})
                remove(content)
        return {model: record.found for model, record in self._records.items()}

    def touch(self, model: str) -> None:
        """Make a model the last one that `recover` gives."""
        with contextlib.suppress(OSError):  # it only decides which version is tried first
            os.utime(self._layout.place(model))

    def workplace(self) -> Path:
        """A path for a new folder in which an artifact is made, to be removed in the end."""
        return self._layout.temporary / uuid.uuid4().hex

    def known(self, archive: Archive) -> Found | None:
        """What such an archive would come to, if its content is here."""
        with self._lock:
            return self._known.get(archive)

    def join(self, work: Path, content: str, unpacked: Path | None = None) -> bool:
        """Make `work/model` of a content: of what is here, else of `unpacked`, which becomes it.

        False if it is not here and nothing was unpacked. `work` then holds the content, until
        `settle` or `leave`.
        """
        if unpacked is not None:
            _seal(unpacked)
        with self._lock:
            if content not in self._holders:
                if unpacked is None:
                    return False
                os.rename(unpacked, self._layout.original(content))
                os.chmod(self._layout.original(content), SEALED_FOLDER)
            self._hold(str(work), content)
        _link_tree(self._layout.original(content), work / "model")
        return True

    def settle(self, work: Path, record: Record) -> None:
        """Move what was made in `work` to the model's place."""
        (work / "record.json").write_text(json.dumps(asdict(record)))
        place = self._layout.place(record.model)
        if place.exists():
            self.drop(record.model)
        with self._lock:
            os.rename(work, place)
            self._note(record)

    def leave(self, work: Path) -> None:
        """The end of making an artifact, however it went: nothing of it stays in `work`."""
        remove(work)
        self._let_go(str(work))

    def drop(self, model: str) -> None:
        """Remove an artifact, if it is there; gone at once for everybody else, and then from the
        disk."""
        grave = self.workplace()
        with self._lock:
            self._records.pop(model, None)
            with contextlib.suppress(FileNotFoundError):  # an earlier life has dropped it
                os.rename(self._layout.place(model), grave)
        remove(grave)
        self._let_go(model)

    def _let_go(self, holder: str) -> None:
        """Take a holder from its content, which goes with the last one."""
        grave = self.workplace()
        with self._lock:
            content = self._held.pop(holder, "")
            holders = self._holders.get(content, set())
            holders.discard(holder)
            if not content or holders:
                return
            del self._holders[content]
            self._known = {a: found for a, found in self._known.items() if found.content != content}
            os.chmod(self._layout.original(content), OPEN_FOLDER)
            os.rename(self._layout.original(content), grave)
        remove(grave)

    def _note(self, record: Record) -> None:
        self._records[record.model] = record
        if record.content:
            self._hold(record.model, record.content)
            if record.bucket and record.version:
                self._known[record.archive] = record.found

    def _hold(self, holder: str, content: str) -> None:
        self._holders.setdefault(content, set()).add(holder)
        self._held[holder] = content

    def _read_record(self, place: Path) -> Record | None:
        """The record of a whole artifact that is where it belongs; else None."""
        try:
            record = _record(json.loads((place / "record.json").read_text()))
            home = self._layout.place(record.model) == place and (place / "model").is_dir()
        except (OSError, ValueError, KeyError, TypeError):
            return None
        whole = not record.content or self._layout.original(record.content).is_dir()
        return record if home and whole else None


def remove(folder: Path) -> None:
    """Remove a folder with all that is in it, sealed or not; what cannot be removed stays."""
    if not folder.is_dir():
        return
    for place, folders, _ in os.walk(folder):
        for path in (place, *(os.path.join(place, name) for name in folders)):
            if not os.path.islink(path):
                os.chmod(path, OPEN_FOLDER)
    shutil.rmtree(folder, ignore_errors=True)


def _touched_at(place: Path) -> int:
    """When an artifact came, or when it last began to serve."""
    try:
        return place.stat().st_mtime_ns
    except OSError:
        return 0


def _seal(folder: Path) -> None:
    """Take away the right to write into all that is in `folder`, but for the folder itself."""
    for place, folders, files in os.walk(folder):
        for name in files:
            path = os.path.join(place, name)
            if not os.path.islink(path):
                os.chmod(path, os.stat(path).st_mode & (SEALED_FILE | 0o111))
        for name in folders:
            if not os.path.islink(path := os.path.join(place, name)):
                os.chmod(path, SEALED_FOLDER)


def _link_tree(source: Path, target: Path) -> None:
    """Folders and symbolic links anew, files as hard links."""
    os.mkdir(target, OPEN_FOLDER)
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), target / entry.name)
            elif entry.is_dir():
                _link_tree(Path(entry.path), target / entry.name)
            else:
                os.link(entry.path, target / entry.name)


def _record(document: dict[str, object]) -> Record:
    """A record out of its document. Raises KeyError, TypeError, ValueError."""
    return Record(
        model=str(document["model"]),
        location=str(document["location"]),
        archive_bytes=int(str(document["archive_bytes"])),
        disk_bytes=int(str(document["disk_bytes"])),
        content=str(document["content"]),
        version=str(document["version"]),
        bucket=str(document["bucket"]),
    )
