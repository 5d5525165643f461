"""Where models come from: a model's URL is turned into a folder that a worker can run in.

    name, /path          below the model store: a folder is served in place, an archive unpacked
    file:///path         the same, below the model store or where `allowed_urls` says so
    http(s)://, s3://    fetched and unpacked, only where `allowed_urls` says so

Paths are resolved as Multi Model Server does it (ModelArchive.java): an absolute one, too, is below
the store.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import stat
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote, urlsplit

from modelplex.archives import manifest as manifests
from modelplex.archives.manifest import Manifest
from modelplex.archives.tree import Overran, Refused
from modelplex.server.artifacts import download
from modelplex.server.artifacts.download import Stopped
from modelplex.server.artifacts.unpacked import Artifact, Unpacked
from modelplex.server.config import Config
from modelplex.server.errors import (
    BadRequest,
    DownloadFailed,
    InvalidModel,
    ModelNotFound,
    OutOfResources,
    ServerError,
)

__all__ = ["Artifact", "Manifest", "Sources", "default_name", "disk_failure"]

log = logging.getLogger(__name__)

URL_MAX = 4096
ARCHIVES = (".mar", ".zip", ".tar.gz", ".tgz")  # what ALL finds in the store, beside folders
FULL = (errno.ENOSPC, errno.EDQUOT)


class Sources:
    """The model store and what may be fetched. Its work runs in threads of its own."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._allowed = [_compiled(pattern) for pattern in config.allowed_urls]
        self._pool = ThreadPoolExecutor(config.loads_max, "sources")
        self._unpacked = Unpacked(config, self._allow)
        self._stops: set[threading.Event] = set()

    async def obtain(self, url: str) -> Artifact:
        """The model at `url`. Cancelled, it leaves nothing.

        Raises ModelNotFound, InvalidModel, DownloadFailed, BadRequest, and OutOfResources (disk).
        """
        stop = threading.Event()
        self._stops.add(stop)
        job = self._pool.submit(self._obtain, url, stop)
        try:
            return await asyncio.wrap_future(job)
        except asyncio.CancelledError:
            stop.set()
            job.add_done_callback(_release)
            raise
        finally:
            self._stops.discard(stop)

    def startup(self) -> list[tuple[str, str]]:
        """(name, url) of every model to load at start; name "" is the manifest's or the default."""
        if self._config.models:
            return list(self._config.models)
        if self._config.load_models.strip().upper() == "ALL":
            return [("", name) for name in self._in_store()]
        pairs = (_pair(entry.strip()) for entry in self._config.load_models.split(","))
        return [(name, url) for name, url in pairs if url]

    async def close(self) -> None:
        """Stop what is being fetched, and remove everything unpacked. No obtain may follow."""
        for stop in list(self._stops):
            stop.set()
        self._pool.shutdown(wait=False)
        await asyncio.to_thread(self._unpacked.close)

    def _in_store(self) -> list[str]:
        store = self._config.model_store
        if store is None or not store.is_dir():
            log.warning("store.missing", extra={"model_store": str(store), "load_models": "ALL"})
            return []
        visible = [entry for entry in os.scandir(store) if not entry.name.startswith(".")]
        return sorted(each.name for each in visible if each.is_dir() or _is_archive(each.name))

    # -- in a thread --------------------------------------------------------------------------

    def _obtain(self, url: str, stop: threading.Event) -> Artifact:
        try:
            place = self._place(url)
            if place is None:
                return self._unpacked.fetched(url, stop)
            return self._local(url, place, stop)
        except Refused as error:
            raise InvalidModel(f"The model at {url} cannot be used: {error}.") from None
        except Overran:
            limit = f"download_bytes_max={self._config.download_bytes_max}"
            raise InvalidModel(f"The model at {url} unpacks to more than {limit} bytes.") from None
        except Stopped:
            raise DownloadFailed(f"Failed to download model from: {url} (stopped)") from None
        except OSError as error:
            raise disk_failure(url, error) from error

    def _place(self, url: str) -> Path | None:
        """Where a local model lies; None for one that is to be fetched and may be."""
        if not 0 < len(url) <= URL_MAX or not _is_path(url):
            raise BadRequest(f"Parameter url must be 1 to {URL_MAX} characters of a path.")
        match url.partition("://")[0].lower() if "://" in url else "":
            case "http" | "https" | "s3":
                self._allow(url)
                return None
            case "file":
                return self._file(url)
            case "":
                return self._in(url)
            case scheme:
                raise BadRequest(
                    f"Parameter url has the scheme {scheme!r}; this server knows http, https, s3, "
                    "file, and paths below its model store."
                )

    def _in(self, url: str) -> Path:
        """A path below the model store."""
        if ".." in url.split("/"):
            raise ModelNotFound(f"Relative path is not allowed in url: {url}")
        if self._config.model_store is None:
            raise ModelNotFound("Model store has not been configured.")
        return Path(os.path.abspath(self._config.model_store), url.lstrip("/"))

    def _file(self, url: str) -> Path:
        parts = urlsplit(url)
        path = unquote(parts.path, errors="surrogateescape")
        if parts.netloc not in ("", "localhost") or not _is_path(path):
            raise BadRequest(f"Parameter url must be file:///PATH, not {url}.")
        store = self._config.model_store
        real = Path(os.path.realpath(path))
        if store is None or not real.is_relative_to(os.path.realpath(store)):
            self._match(real.as_uri())
        return real

    def _allow(self, url: str) -> None:
        """Refuse what may not be fetched, or what two programs could read differently."""
        if problem := download.ambiguity(url):
            raise BadRequest(f"Parameter url cannot be used: {problem}: {url!r}")
        self._match(url)

    def _match(self, url: str) -> None:
        """Refuse what no pattern matches as a whole."""
        if not any(pattern.fullmatch(url) for pattern in self._allowed):
            raise DownloadFailed(
                f"Failed to download model from: {url} (not allowed: it matches no pattern of the "
                "property allowed_urls)"
            )

    def _local(self, url: str, place: Path, stop: threading.Event) -> Artifact:
        try:
            mode = place.stat().st_mode
        except OSError:
            raise ModelNotFound(f"Model not found in model store: {url}") from None
        if stat.S_ISDIR(mode):
            return Artifact(*manifests.find(place), release=_nothing)
        if not stat.S_ISREG(mode):
            raise InvalidModel(f"The model at {url} is neither a folder nor a file.")
        return self._unpacked.local(url, place, stop)


def default_name(url: str) -> str:
    """The name of a start-up model that gives itself none: its file's (ModelServer.java)."""
    name = url.rstrip("/").rpartition("/")[2]
    for ending in (*ARCHIVES, ".model"):
        name = name.removesuffix(ending)
    return re.sub(r"\W", "_", name, flags=re.ASCII)


def _is_path(text: str) -> bool:
    """Whether the file system could know the text; JSON may hold halves of characters."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _is_archive(name: str) -> bool:
    return name.endswith(ARCHIVES)


def _pair(entry: str) -> tuple[str, str]:
    """`NAME=URL`, or a URL alone, which may have a "=" behind a slash."""
    name, equals, url = entry.partition("=")
    return (name, url) if equals and "/" not in name else ("", entry)


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        problem = f"the property allowed_urls: {pattern!r} is no regular expression ({error})"
        raise ValueError(problem) from None


def _nothing() -> None:
    """A folder that is served in place is nobody's to remove."""


def _release(job: Future[Artifact]) -> None:
    """Nobody waits for the artifact any more."""
    if not job.cancelled() and not job.exception():
        job.result().release()


def disk_failure(url: str, error: OSError) -> ServerError:
    """What the disk said about a model: 507 if it is full, else that the model cannot be used."""
    reason = error.strerror or str(error)
    if error.errno in FULL:
        return OutOfResources(f"The model at {url} does not fit on the disk ({reason}).")
    return InvalidModel(f"The model at {url} cannot be read or unpacked ({reason}).")
