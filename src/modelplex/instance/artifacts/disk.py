"""Models' artifacts on the instance's disk: fetched whole or not at all, and found again.

An archive is unpacked while it arrives, and its SHA-256 taken. Byte-identical archives share their
files (`places.py`); one that the store calls the same as an archive already here is not even
downloaded.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import time
from collections.abc import Callable
from pathlib import Path

from modelplex.archives.tree import Bounds, Overran, Refused, taken_bytes
from modelplex.aws.errors import InternalFailure, ServiceError, ValidationError
from modelplex.aws.locations import FileLocation, Location, S3Location
from modelplex.core.keys import name_of, version_of
from modelplex.instance.artifacts.download import Download, Stopped, unpack
from modelplex.instance.artifacts.layout import Layout
from modelplex.instance.artifacts.places import Found, Places, Record, remove
from modelplex.instance.artifacts.store import (
    Artifact,
    FetchFailure,
    Store,
    Unavailable,
    unavailable,
)
from modelplex.settings import Settings

log = logging.getLogger(__name__)

TRIES_MAX = 3  # of a whole download, beside the store's own retries and resumptions
PAUSE_S = 0.5  # before the second try; twice that before the third
GROWTH_MIN, GROWTH_MAX = 1.25, 4.0  # of a limit that was too small


class Unprepared(Exception):
    """The image could not prepare the artifact; the message says why."""


Prepare = Callable[[str, Path], None]  # a model's name, and the folder of its artifact


class Artifacts:
    """The disk of one instance. `fetch` and `drop` block: call them in a thread."""

    def __init__(
        self,
        folder: Path,
        store: Store,
        locate: Callable[[str], Location],
        limits: Settings,
        *,
        share: bool = True,
        prepare: Prepare | None = None,
    ) -> None:
        """`locate` says where a model's archive is; it raises ValueError for an impossible name.

        With `share`, byte-identical artifacts lie on the disk once, and their files are read-only.
        `prepare` may add to what an archive held; it blocks, and raises Unprepared.
        """
        self._store = store
        self._locate = locate
        self._limits = limits
        self._share = share
        self._prepare = prepare
        self.layout = Layout(folder)
        self._places = Places(self.layout)

    def recover(self) -> dict[str, Found]:
        """Whole artifacts of an earlier life by model. All else is removed."""
        return self._places.recover(self._is_good)

    def fetch(self, model: str, limit_bytes: int, download: Download) -> Found:
        """Bring the artifact to the disk.

        For a key with a version that is the only one accepted. Raises FetchFailure, Overran (with
        the limit to try next) and Stopped; in each case nothing is left.
        """
        work = self._places.workplace()
        try:
            location = self._location(model)
            record = self._with_retries(model, location, work, limit_bytes, download)
            self._places.settle(work, record)
            return record.found
        except Overran as error:
            raise Overran(_estimate(download, limit_bytes, error.needed_bytes)) from None
        except OSError as error:
            raise FetchFailure(_disk_failure(model, error)) from error
        finally:
            self._places.leave(work)

    def version(self, model: str) -> str:
        """Which version the store has now; "" for none. Raises FetchFailure and Unavailable."""
        return self._store.version(self._location(model))

    def serves(self, model: str) -> None:
        """Note on the disk that this version of a model serves: `recover` gives it last."""
        self._places.touch(model)

    def drop(self, model: str) -> None:
        """Remove the artifact; gone at once for everybody else, and then from the disk."""
        self._places.drop(model)

    # -- fetching -----------------------------------------------------------------------------

    def _location(self, model: str) -> Location:
        try:
            return self._locate(name_of(model))
        except ValueError as error:
            raise FetchFailure(ValidationError(str(error)), passing=False) from None

    def _with_retries(
        self, model: str, location: Location, work: Path, limit_bytes: int, download: Download
    ) -> Record:
        for attempt in itertools.count(1):
            try:
                return self._try(model, location, work, limit_bytes, download)
            except Unavailable as problem:
                facts = {"location": _shown(location), "problem": str(problem)}
                log.warning("fetch.broken_off", extra={**facts, "attempt": attempt})
                if attempt == TRIES_MAX:
                    raise FetchFailure(unavailable(location, str(problem))) from None
            if download.stop.wait(PAUSE_S * attempt):
                break
        raise Stopped

    def _try(
        self, model: str, location: Location, work: Path, limit_bytes: int, download: Download
    ) -> Record:
        remove(work)
        work.mkdir(mode=0o700)
        began = time.perf_counter()
        artifact = self._store.open(location)
        download.open_s = time.perf_counter() - began
        with contextlib.closing(artifact.chunks):
            if (wanted := version_of(model)) and artifact.version != wanted:
                raise FetchFailure(_replaced(location, wanted, artifact.version))
            try:
                made = self._link(artifact, work) or self._make(
                    model, artifact, work, limit_bytes, download
                )
            except Refused as error:
                raise FetchFailure(_refused(location, error), passing=False) from None
            except Unprepared as error:
                raise FetchFailure(_unprepared(location, error), passing=False) from None
        return Record(
            model=model,
            location=str(location),
            archive_bytes=artifact.size,
            disk_bytes=made.disk_bytes,
            content=made.content,
            version=artifact.version,
            bucket=artifact.bucket,
        )

    def _link(self, artifact: Artifact, work: Path) -> Found | None:
        """Of what is here already, if the store says that it is the same; else None."""
        known = self._places.known((artifact.bucket, artifact.version, artifact.size))
        if known and self._places.join(work, known.content):
            return known
        return None

    def _make(
        self, model: str, artifact: Artifact, work: Path, limit_bytes: int, download: Download
    ) -> Found:
        folder = work / ("unpacked" if self._share else "model")
        bounds = self._bounds(artifact.size, limit_bytes)
        began = time.perf_counter()
        disk_bytes = unpack(artifact, folder, bounds, download)
        download.unpack_s = time.perf_counter() - began
        content = download.content if self._share else ""
        if not (content and self._places.join(work, content)):
            disk_bytes = self._prepared(model, folder, disk_bytes, limit_bytes)
            if content:
                self._places.join(work, content, folder)
        elif self._prepare is not None:  # and so was the content
            disk_bytes = taken_bytes(work / "model")
        if content:
            remove(folder)  # it is still there if somebody else was first
        return Found(disk_bytes, content, artifact.version)

    def _prepared(self, model: str, folder: Path, disk_bytes: int, limit_bytes: int) -> int:
        """What an artifact takes when the image has added to it. Raises Unprepared, Overran."""
        if self._prepare is None:
            return disk_bytes
        self._prepare(name_of(model), folder)
        if (taken := taken_bytes(folder)) > limit_bytes:
            raise Overran(taken)
        return taken

    def _bounds(self, archive_bytes: int, limit_bytes: int) -> Bounds:
        floor = self._limits.archive_ratio_floor_bytes
        bomb_bytes = max(floor, archive_bytes * self._limits.archive_ratio_max)
        return Bounds(limit_bytes, self._limits.archive_entries_max, bomb_bytes)

    def _is_good(self, record: Record) -> bool:
        """Whether an artifact of an earlier life came from where this model's would come from."""
        try:
            same = record.location == str(self._locate(name_of(record.model)))
        except ValueError:
            return False
        return same and bool(record.content) == self._share


def _estimate(download: Download, limit_bytes: int, reached_bytes: int) -> int:
    """How large a limit to try next: what the rest should come to, within a factor of four."""
    share = download.received_bytes / download.archive_bytes if download.archive_bytes else 1.0
    whole = reached_bytes / max(share, 0.01)
    bounded = min(max(whole, GROWTH_MIN * limit_bytes), GROWTH_MAX * limit_bytes)
    return max(int(bounded), reached_bytes)


def _replaced(location: Location, wanted: str, there: str) -> ServiceError:
    return ValidationError(
        f"The model data at {_shown(location)} is not the version {wanted} any more: the store now "
        f"has {there or 'one without a version'}."
    )


def _refused(location: Location, error: Refused) -> ServiceError:
    return ValidationError(
        f"The model data at {_shown(location)} cannot be used: {error}. Pack the model again with "
        "'tar czf' and upload it under a new name."
    )


def _unprepared(location: Location, error: Unprepared) -> ServiceError:
    return ValidationError(f"The model data at {_shown(location)} cannot be used: {error}")


def _shown(location: Location) -> str:
    match location:
        case S3Location(bucket, key):
            return f"s3://{bucket}/{key}"
        case FileLocation(path):
            return f"file://{path}"


def _disk_failure(model: str, error: OSError) -> ServiceError:
    """The instance's own disk, which is neither the caller's nor the model's doing."""
    reason = "the disk is full" if error.errno == errno.ENOSPC else str(error.strerror or error)
    return InternalFailure(f"The instance could not store the model data of {model}: {reason}.")
