"""Instances as processes of the supervisor, asked for over run/supervisor.sock."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

from modelplex import engine
from modelplex.control.provider import Process, ProviderFailed
from modelplex.control.records import Document
from modelplex.http.client import Client
from modelplex.http.errors import BadMessage

log = logging.getLogger(__name__)

_WATCH_S = 20.0  # longest hold of one question about all processes
_RETRY_S = 0.2  # after the supervisor did not answer
_START_S = 20.0  # for the supervisor to start a process, an old one's end included
_STOP_MARGIN_S = 10.0  # beyond the grace, for SIGKILL and the answer


class Processes:
    """The provider of `modelplex up`. `data` is the platform's data folder."""

    def __init__(self, data: Path, grace_s: float) -> None:
        """`grace_s`: from SIGTERM to SIGKILL of an instance."""
        self._data = data
        self._grace_s = grace_s
        self._client = Client(f"unix:{data / 'run' / 'supervisor.sock'}")

    async def start(self, spec: Document) -> None:
        """Write the instance's spec.json and have the supervisor run it."""
        folder = self._data / "instances" / str(spec["id"])
        try:
            path = await asyncio.to_thread(_write_spec, folder, spec)
        except OSError as error:
            raise ProviderFailed(f"{folder} cannot be written: {error}") from error
        argv = [sys.executable, "-m", "modelplex.instance", str(path)]
        document = {"argv": argv, "cwd": str(folder), "restart": False, "grace_s": self._grace_s}
        limit_s = _START_S + self._grace_s + _STOP_MARGIN_S
        await self._ask("PUT", f"/processes/{spec['id']}", document, (200, 201), limit_s)

    async def stop(self, instance: str, forget: bool) -> None:
        """Have the supervisor end the instance; then remove its socket and, perhaps, its folder."""
        limit_s = self._grace_s + _STOP_MARGIN_S
        await self._ask("DELETE", f"/processes/{instance}", None, (200, 204, 404), limit_s)
        (self._data / "run" / f"{instance}.sock").unlink(missing_ok=True)
        folder = self._data / "instances" / instance
        await asyncio.to_thread(_remove_containers, folder)
        if forget:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def watch(self) -> AsyncIterator[Mapping[str, Process]]:
        """Long-polls the supervisor; while it does not answer, what was last known stands."""
        version: int | None = None
        while True:
            after = "" if version is None else f"?after={version}&wait_s={_WATCH_S:g}"
            try:
                _, answer = await self._client.json(
                    "GET", f"/processes{after}", timeout_s=_WATCH_S + _STOP_MARGIN_S
                )
            except (OSError, BadMessage) as error:
                log.warning("supervisor.silent", extra={"reason": str(error)})
                await asyncio.sleep(_RETRY_S)
                continue
            if answer["version"] != version:
                version = answer["version"]
                yield {name: _process(row) for name, row in answer["processes"].items()}

    async def close(self) -> None:
        """Let go of the supervisor's socket; the instances run on."""
        await self._client.close()

    async def _ask(
        self,
        method: str,
        target: str,
        document: Document | None,
        good: tuple[int, ...],
        limit_s: float,
    ) -> None:
        try:
            status, answer = await self._client.json(method, target, document, timeout_s=limit_s)
        except (OSError, BadMessage) as error:
            raise ProviderFailed(f"The supervisor did not answer {method}: {error}") from error
        if status not in good:
            reason = (answer or {}).get("message", f"status {status}")
            raise ProviderFailed(f"The supervisor refused {method} {target}: {reason}")


def _process(row: dict[str, Any]) -> Process:
    return Process(row["state"] != "exited", row["pid"], row["started_at"], row["last_exit"])


def _remove_containers(folder: Path) -> None:
    """What an instance that was killed has left with its engine, whose children containers are."""
    try:
        image = json.loads((folder / "spec.json").read_text())["image"]
        if image.get("kind") == "oci":
            engine.sweep(image["engine"], folder.name)
    except FileNotFoundError:
        return  # it was never started, or its engine is gone with all that it had
    except (OSError, ValueError, LookupError, HTTPException) as error:
        log.warning("containers.not_removed", extra={"reason": repr(error)})


def _write_spec(folder: Path, spec: Document) -> Path:
    """Write spec.json so that it is never seen half, and by nobody else: it holds keys."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "spec.json"
    temporary = folder / ".spec.json"
    temporary.touch(mode=0o600)
    temporary.write_text(json.dumps(spec, indent=1))
    temporary.replace(path)
    return path
