"""Archives unpacked into folders of their own, which go when the last model made of them goes.

    WORK/RANDOM/archive  one that is being fetched
    WORK/RANDOM/model    its unpacked model, until it is released

What several models are made of at a time is fetched once, if its server gives an ETag.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from modelplex.archives import manifest as manifests
from modelplex.archives.manifest import Manifest
from modelplex.archives.tree import Bounds, Refused
from modelplex.archives.unpack import unpack
from modelplex.archives.unzip import MAGICS as ZIP
from modelplex.archives.unzip import unzip
from modelplex.server.artifacts import download
from modelplex.server.artifacts.download import Stopped
from modelplex.server.config import Config
from modelplex.server.errors import DownloadFailed

GZIP = b"\x1f\x8b"
CHUNK_BYTES = 256 * 1024
ENTRIES_MAX = 100_000
RATIO_MAX = 200  # unpacked bytes per packed byte; more is a bomb
RATIO_FLOOR_BYTES = 64 * 1024 * 1024  # unpacked sizes below this are never a bomb
TURNS = 64  # locks that URLs are spread over
WATCH_S = 0.2  # how soon a waiting thread notices that it is stopped


@dataclass(frozen=True, slots=True)
class Artifact:
    """A model on the disk. `release` blocks, may be called twice, and removes what was unpacked."""

    folder: Path
    manifest: Manifest
    release: Callable[[], None]


@dataclass(slots=True)
class Shared:
    """An unpacked archive from elsewhere, and how many artifacts are made of it."""

    work: Path
    folder: Path
    manifest: Manifest
    etag: str
    users: int = 1


class Unpacked:
    """The folder of all unpacked archives. Its methods block, and may run in any thread.

    They raise Refused, Overran, Stopped, OSError (the disk); fetching DownloadFailed besides.
    """

    def __init__(self, config: Config, allow: Callable[[str], None]) -> None:
        """`allow` raises for a URL that must not be fetched, the target of a redirect."""
        self._config = config
        self._allow = allow
        self._work = _work_folder(config.work_folder)
        self._lock = threading.Lock()  # guards _shared and its counts
        self._shared: dict[str, Shared] = {}
        self._turns = [threading.Lock() for _ in range(TURNS)]

    def local(self, url: str, archive: Path, stop: threading.Event) -> Artifact:
        """The model in an archive that is here."""
        with self._working() as work:
            return self._artifact(url, self._unpack(archive, work, "", stop))

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self._work, ignore_errors=True)

    def fetched(self, url: str, stop: threading.Event) -> Artifact:
        """The model in an archive that is elsewhere.

        One at a time for each URL, so that the second finds what the first has fetched.
        """
        with _held(self._turns[hash(url) % TURNS], stop):
            known = self._join(url)
            try:
                fresh = self._fetch(url, known.etag if known else "", stop)
            except BaseException:
                self._leave(url, known)
                raise
            if fresh is None and known is not None:
                return self._artifact(url, known)
            self._leave(url, known)
            if fresh is None:
                raise DownloadFailed(f"Failed to download model from: {url}, code: 304")
            if fresh.etag:
                with self._lock:
                    self._shared[url] = fresh
            return self._artifact(url, fresh)

    def _fetch(self, url: str, etag: str, stop: threading.Event) -> Shared | None:
        """What is at the URL now; None if the `etag` still holds."""
        bounds = download.Bounds(
            self._config.download_bytes_max, self._config.download_timeout_s, stop
        )
        with self._working() as work:
            new = download.fetch(url, etag, work / "archive", bounds, self._allow)
            if new is not None:
                return self._unpack(work / "archive", work, new, stop)
            work.rmdir()
            return None

    def _unpack(self, archive: Path, work: Path, etag: str, stop: threading.Event) -> Shared:
        target = work / "model"
        with _Watched(archive, stop) as file:
            bounds = self._bounds(file.seek(0, os.SEEK_END))
            file.seek(0)
            start = file.read(4)
            file.seek(0)
            if start in ZIP:
                unzip(file, target, bounds)
            elif start.startswith(GZIP):
                unpack(iter(functools.partial(file.read, CHUNK_BYTES), b""), target, bounds)
            else:
                raise Refused("it is neither a zip file nor a gzip file")
        if archive.parent == work:
            archive.unlink()
        return Shared(work, *manifests.find(target), etag)

    def _bounds(self, archive_bytes: int) -> Bounds:
        bomb_bytes = max(RATIO_FLOOR_BYTES, archive_bytes * RATIO_MAX)
        return Bounds(self._config.download_bytes_max, ENTRIES_MAX, bomb_bytes)

    @contextlib.contextmanager
    def _working(self) -> Iterator[Path]:
        """A folder for one archive, which stays only if all goes well."""
        work = Path(tempfile.mkdtemp(dir=self._work))
        try:
            yield work
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise

    # -- what several models may share ----------------------------------------------------------

    def _join(self, url: str) -> Shared | None:
        """What was fetched from the URL and is still in use; it stays so until `_leave`."""
        with self._lock:
            known = self._shared.get(url)
            if known:
                known.users += 1
            return known

    def _leave(self, url: str, shared: Shared | None) -> None:
        if shared is None:
            return
        with self._lock:
            shared.users -= 1
            if shared.users:
                return
            if self._shared.get(url) is shared:
                del self._shared[url]
        shutil.rmtree(shared.work, ignore_errors=True)

    def _artifact(self, url: str, shared: Shared) -> Artifact:
        leave = functools.partial(self._leave, url, shared)
        return Artifact(shared.folder, shared.manifest, _once(leave))


class _Watched(io.FileIO):
    """An open archive whose reading can be stopped."""

    def __init__(self, path: Path, stop: threading.Event) -> None:
        super().__init__(path)
        self._stop = stop

    def read(self, size: int | None = -1, /) -> bytes:
        if self._stop.is_set():
            raise Stopped
        return super().read(-1 if size is None else size)


def _work_folder(folder: Path | None) -> Path:
    """An empty folder; what an earlier life left in it is removed."""
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="modelplex-models-"))
    work = Path(os.path.abspath(folder), "models")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(mode=0o700, parents=True)
    return work


@contextlib.contextmanager
def _held(lock: threading.Lock, stop: threading.Event) -> Iterator[None]:
    while not lock.acquire(timeout=WATCH_S):
        if stop.is_set():
            raise Stopped
    try:
        yield
    finally:
        lock.release()


def _once(action: Callable[[], None]) -> Callable[[], None]:
    """`action` for the first call, nothing for all others, in whatever thread."""
    left = [action]

    def act() -> None:
        try:
            first = left.pop()
        except IndexError:
            return
        first()

    return act
