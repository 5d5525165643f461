"""The data folder: made, locked by the one `up` that uses it, and the keys of its platform."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modelplex.settings import Settings

HANDOVER_S = 15.0  # longest wait for the processes of an `up` that was killed
_POLL_S = 0.1
_KEY_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"  # AWS's access keys are base 32
_SECRET_ALPHABET = _KEY_ALPHABET + _KEY_ALPHABET[:26].lower() + "0189+/"


class FolderError(Exception):
    """The data folder cannot be used; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Running:
    """Who holds the data folder."""

    pid: int
    host: str
    port: int


def prepare(data: Path) -> None:
    """Make the folder and what belongs in it, for its owner only. Raises FolderError."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if data.stat().st_uid != os.getuid():
            raise FolderError(f"{data} belongs to another user: choose another folder with --data.")
        data.chmod(0o700)
        for name in ("s3", "images", "instances", "logs", "run"):
            (data / name).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise FolderError(f"The data folder {data} cannot be made: {error}.") from error


def lock(settings: Settings) -> int:
    """Hold the folder until the returned descriptor is closed; note who holds it.

    Where an `up` was killed, its guard keeps the lock until its processes are gone: that is waited
    for. Raises FolderError if another `up` runs.
    """
    descriptor = os.open(settings.data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + HANDOVER_S
    while not _try(descriptor, fcntl.LOCK_EX):
        holder = _noted(settings.data)
        if (holder and _is_alive(holder.pid)) or time.monotonic() > deadline:
            os.close(descriptor)
            raise FolderError(_already_running(settings.data, holder))
        time.sleep(_POLL_S)
    note(descriptor, settings)
    return descriptor


def note(descriptor: int, settings: Settings) -> None:
    """Write into the lock who holds it and where that listens."""
    document = {"pid": os.getpid(), "host": settings.host, "port": settings.port}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(document).encode(), 0)


def running(data: Path) -> Running | None:
    """Who holds the folder now, if anybody does."""
    try:
        descriptor = os.open(data / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return None if _try(descriptor, fcntl.LOCK_SH) else _noted(data)
    finally:
        os.close(descriptor)


def with_keys(settings: Settings) -> Settings:
    """The settings with the platform's keys: given ones, else the folder's, else new ones.

    They are kept in credentials.json, readable by the owner alone. Raises FolderError.
    """
    kept = read_keys(settings.data)
    if settings.access_key:
        keys = (settings.access_key, settings.secret_key)
    else:
        keys = kept or (
            "AKIA" + "".join(secrets.choice(_KEY_ALPHABET) for _ in range(16)),
            "".join(secrets.choice(_SECRET_ALPHABET) for _ in range(40)),
        )
    if keys != kept:
        document = {"access_key": keys[0], "secret_key": keys[1]}
        write_private(settings.data / "credentials.json", document)
    return replace(settings, access_key=keys[0], secret_key=keys[1])


def read_keys(data: Path) -> tuple[str, str] | None:
    """Access key and secret key of the folder, None before its first start. Raises FolderError."""
    path = data / "credentials.json"
    try:
        document = json.loads(path.read_text())
        return document["access_key"], document["secret_key"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FolderError(f"{path} cannot be read ({error!r}): mend or delete it.") from error


def clean_run(data: Path) -> None:
    """Forget the sockets of the last `up`, and the uploads that its S3 server did not finish."""
    shutil.rmtree(data / "run")
    (data / "run").mkdir(mode=0o700)
    for path in (data / "s3").rglob(".rclone_temp_*"):
        path.unlink(missing_ok=True)


def write_private(path: Path, document: dict[str, Any]) -> None:
    """Write a JSON file that only its owner can ever have read, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w") as file:
        json.dump(document, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _noted(data: Path) -> Running | None:
    try:
        return Running(**json.loads((data / "lock").read_text()))
    except (OSError, ValueError, TypeError):  # being written at this moment
        return None


def _is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _already_running(data: Path, holder: Running | None) -> str:
    if holder is None or not _is_alive(holder.pid):
        return f"{data} is still in use by the processes of an earlier run: try again in a moment."
    return (
        f"modelplex already runs on {data}: process {holder.pid},"
        f" http://{holder.host}:{holder.port}. Stop it with `modelplex down`,"
        " or choose another folder with --data (and another --port)."
    )
