"""Models' artifacts on the instance's disk: fetched whole or not at all, and found again.

    FOLDER/tmp/RANDOM/                 being unpacked or being removed; emptied at start
    FOLDER/models/ID/model/            a whole artifact, the working directory of its worker
    FOLDER/models/ID/record.json       whose it is; written last

ID is a hash of the model's name: an opaque folder as in SageMaker's `/opt/ml/models/ID/model`, so
that no name can lead anywhere. An artifact moves into `models/` by one rename, record and all.
Nothing is synced: after a power failure of the machine the operator empties the folder.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import logging
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from modelplex.archives import unpack
from modelplex.archives.tree import Bounds, Overran, Refused
from modelplex.aws.errors import InternalFailure, ServiceError, ValidationError
from modelplex.aws.locations import FileLocation, S3Location
from modelplex.instance.store import Artifact, FetchFailure, Store, Unavailable, unavailable
from modelplex.settings import Settings

log = logging.getLogger(__name__)

TRIES_MAX = 3  # of a whole download, beside the store's own retries and resumptions
PAUSE_S = 0.5  # before the second try; twice that before the third
GROWTH_MIN, GROWTH_MAX = 1.25, 4.0  # of a limit that was too small

Location = S3Location | FileLocation


class Stopped(Exception):
    """The download was stopped from outside."""


@dataclass(slots=True)
class Download:
    """One fetch under way: what has arrived, and the switch that stops it."""

    stop: threading.Event = field(default_factory=threading.Event)
    archive_bytes: int = 0
    received_bytes: int = 0

    def metered(self, artifact: Artifact) -> Iterator[bytes]:
        """The artifact's chunks, counted. Raises Stopped."""
        self.archive_bytes, self.received_bytes = artifact.size, 0
        for chunk in artifact.chunks:
            if self.stop.is_set():
                raise Stopped
            self.received_bytes += len(chunk)
            yield chunk

    def estimate(self, limit_bytes: int, reached_bytes: int) -> int:
        """How large a limit to try next: what the rest should come to, within a factor of four."""
        share = self.received_bytes / self.archive_bytes if self.archive_bytes else 1.0
        whole = reached_bytes / max(share, 0.01)
        bounded = min(max(whole, GROWTH_MIN * limit_bytes), GROWTH_MAX * limit_bytes)
        return max(int(bounded), reached_bytes)


class Artifacts:
    """The disk of one instance. `fetch` and `drop` block: call them in a thread."""

    def __init__(
        self, folder: Path, store: Store, locate: Callable[[str], Location], limits: Settings
    ) -> None:
        """`locate` says where a model's archive is; it raises ValueError for an impossible name."""
        self._store = store
        self._locate = locate
        self._limits = limits
        self._temporary = folder / "tmp"
        self._models = folder / "models"

    def folder(self, model: str) -> Path:
        """Where the model's files are when it is on the disk."""
        return self._place(model) / "model"

    def recover(self) -> dict[str, int]:
        """Whole artifacts of an earlier life: model -> bytes on the disk. All else is removed."""
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary.mkdir(parents=True)
        self._models.mkdir(exist_ok=True)
        found = {}
        for place in sorted(self._models.iterdir()):
            if record := self._read_record(place):
                found[record[0]] = record[1]
            else:
                log.warning("artifact.incomplete", extra={"folder": place.name})
                shutil.rmtree(place, ignore_errors=True)
        return found

    def fetch(self, model: str, limit_bytes: int, download: Download) -> int:
        """Bring the artifact to the disk; returns its bytes there.

        Raises FetchFailure, Overran (with the limit to try next) and Stopped; in each case
        nothing is left.
        """
        work = self._temporary / uuid.uuid4().hex
        try:
            location = self._location(model)
            disk_bytes = self._with_retries(location, work, limit_bytes, download)
            self._commit(model, location, work, disk_bytes, download.archive_bytes)
            return disk_bytes
        except Overran as error:
            raise Overran(download.estimate(limit_bytes, error.needed_bytes)) from None
        except OSError as error:
            raise FetchFailure(_disk_failure(model, error)) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def drop(self, model: str) -> None:
        """Remove the artifact; gone at once for everybody else, and then from the disk."""
        self._discard(self._place(model))

    # -- fetching -----------------------------------------------------------------------------

    def _location(self, model: str) -> Location:
        try:
            return self._locate(model)
        except ValueError as error:
            raise FetchFailure(ValidationError(str(error))) from None

    def _with_retries(
        self, location: Location, work: Path, limit_bytes: int, download: Download
    ) -> int:
        for attempt in itertools.count(1):
            try:
                return self._try(location, work, limit_bytes, download)
            except Unavailable as problem:
                facts = {"location": _shown(location), "problem": str(problem)}
                log.warning("fetch.broken_off", extra={**facts, "attempt": attempt})
                if attempt == TRIES_MAX:
                    raise FetchFailure(unavailable(location, str(problem))) from None
            if download.stop.wait(PAUSE_S * attempt):
                break
        raise Stopped

    def _try(self, location: Location, work: Path, limit_bytes: int, download: Download) -> int:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(mode=0o700)
        try:
            artifact = self._store.open(location)
            bounds = self._bounds(artifact.size, limit_bytes)
            with contextlib.closing(artifact.chunks):
                return unpack.unpack(download.metered(artifact), work / "model", bounds)
        except Refused as error:
            raise FetchFailure(_refused(location, error)) from None

    def _bounds(self, archive_bytes: int, limit_bytes: int) -> Bounds:
        floor = self._limits.archive_ratio_floor_bytes
        bomb_bytes = max(floor, archive_bytes * self._limits.archive_ratio_max)
        return Bounds(limit_bytes, self._limits.archive_entries_max, bomb_bytes)

    def _commit(
        self, model: str, location: Location, work: Path, disk_bytes: int, archive_bytes: int
    ) -> None:
        record = {
            "model": model,
            "location": str(location),
            "archive_bytes": archive_bytes,
            "disk_bytes": disk_bytes,
        }
        (work / "record.json").write_text(json.dumps(record))
        place = self._place(model)
        if place.exists():
            self._discard(place)
        work.rename(place)

    # -- the folders --------------------------------------------------------------------------

    def _place(self, model: str) -> Path:
        name = hashlib.sha256(model.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        return self._models / name

    def _discard(self, place: Path) -> None:
        grave = self._temporary / uuid.uuid4().hex
        os.rename(place, grave)
        shutil.rmtree(grave, ignore_errors=True)

    def _read_record(self, place: Path) -> tuple[str, int] | None:
        """Model and size of a whole artifact that is where it belongs; else None."""
        try:
            record = json.loads((place / "record.json").read_text())
            model, size = str(record["model"]), int(record["disk_bytes"])
            same = record["location"] == str(self._locate(model)) and self._place(model) == place
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return (model, size) if same and (place / "model").is_dir() else None


def _refused(location: Location, error: Refused) -> ServiceError:
    return ValidationError(
        f"The model data at {_shown(location)} cannot be used: {error}. Pack the model again with "
        "'tar czf' and upload it under a new name."
    )


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
