"""Builds of built-in images: in a process of their own, once however many endpoints wait.

What a build does goes to the stream `build` of each waiting endpoint's log group, and can be asked
for while it lasts. A build for which nobody waits any more is ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelplex.aws import arns
from modelplex.control.provider import CannotStart
from modelplex.control.records import Document
from modelplex.images import builtin_images
from modelplex.images.catalogue import Named
from modelplex.images.store import ImageStore

log = logging.getLogger(__name__)

STREAM = "build"
BUILDER = (sys.executable, "-m", "modelplex.images")
_LINE_BYTES_MAX = 64 * 1024  # of a build's output
_LINES_MAX = 5000  # of one build that are logged
_GRACE_S = 10.0  # SIGTERM to SIGKILL of a build


@dataclass(slots=True, eq=False)
class _Build:
    """One build under way."""

    image: Named
    task: asyncio.Task[None] | None = None
    began_at: float = field(default_factory=time.time)
    endpoints: Counter[str] = field(default_factory=Counter)  # waiting instances of each
    step: str = "starting"
    detail: str = ""
    failure: str = ""
    lines: int = 0


class Builds:
    """The images of one data folder; `ensure` has one built."""

    def __init__(self, data: Path, images: ImageStore, builder: Sequence[str]) -> None:
        """`builder` is the command that gets a built-in image's name and --data."""
        self._builder = builder
        self._data = data
        self._images = images
        self._builds: dict[str, _Build] = {}  # by hash

    async def ensure(self, image: Named, endpoint: str) -> None:
        """Return when an image is there, or is not ours to build. Raises CannotStart."""
        builtin = builtin_images.find(image.name)
        if builtin is None or self._images.read(image.hash, image.name) is not None:
            return
        build = self._builds.get(image.hash) or self._begin(image, builtin)
        assert build.task is not None
        build.endpoints[endpoint] += 1
        self._log(build, [endpoint])
        try:
            await asyncio.shield(build.task)
        finally:
            build.endpoints -= Counter([endpoint])
            if not build.endpoints and not build.task.done():
                build.task.cancel()
        if build.failure:
            raise CannotStart(f"The image {image.name} could not be built: {build.failure}")

    def under_way(self) -> list[Document]:
        """What is being built, for whom, and what is done just now."""
        return [
            {
                "image": build.image.name,
                "endpoints": sorted(build.endpoints),
                "step": build.step,
                "detail": build.detail,
                "seconds": round(time.time() - build.began_at, 1),
            }
            for build in self._builds.values()
        ]

    async def close(self) -> None:
        """End all builds."""
        tasks = [build.task for build in self._builds.values() if build.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, image: Named, builtin: str) -> _Build:
        if builtin_images.digest(builtin) != image.hash:
            raise CannotStart(
                f"The image {image.name} ({image.hash[:12]}) is gone, and this version of "
                "modelplex has another one. Create the endpoint again."
            )
        build = self._builds[image.hash] = _Build(image)
        build.task = asyncio.create_task(self._run(build, builtin))
        return build

    async def _run(self, build: _Build, builtin: str) -> None:
        log.info("image.build", extra={"image": build.image.name})
        try:
            await self._follow(build, builtin)
        finally:
            del self._builds[build.image.hash]
        keys = {"image": build.image.name, "failure": build.failure}
        log.info("image.built", extra=keys)

    async def _follow(self, build: _Build, builtin: str) -> None:
        """Run the build's process to its end; however this ends, the process has ended."""
        argv = [*self._builder, builtin, "--data", str(self._data)]
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES_MAX,
        )
        try:
            await self._read(build, process)
            status = await process.wait()
        finally:
            await _end(process)
        if status and not build.failure:
            build.failure = f"its process ended with status {status}"
            self._tell(build, {"failed": build.failure})

    async def _read(self, build: _Build, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:  # longer than any line of ours
                continue
            if not line:
                return
            with contextlib.suppress(ValueError):
                self._tell(build, json.loads(line))

    def _tell(self, build: _Build, news: dict[str, Any]) -> None:
        if "failed" in news:
            build.failure = str(news["failed"])
            build.step, build.detail = "failed", build.failure
        elif "built" in news:
            build.step, build.detail = "built", str(news["built"])
        else:
            build.step, build.detail = str(news["step"]), str(news["detail"])
        build.lines += 1
        if build.lines <= _LINES_MAX or "step" not in news:
            self._log(build, build.endpoints)

    def _log(self, build: _Build, endpoints: Iterable[str]) -> None:
        """Write what is being done to endpoints' logs; a full disk must not stop a build."""
        text = f"{build.image.name}: {build.step}: {build.detail}".removesuffix(": ")
        document = {"t": int(time.time() * 1000), "m": text, "model": None}
        for endpoint in endpoints:
            folder = Path(f"{self._data / 'logs'}{arns.log_group(endpoint)}")
            with contextlib.suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                _append(folder / f"{STREAM}.jsonl", json.dumps(document).encode() + b"\n")


def _append(path: Path, line: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, line)
    finally:
        os.close(file)


async def _end(process: asyncio.subprocess.Process) -> None:
    """SIGTERM, which has it end what it started, and SIGKILL if that does not help."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_GRACE_S):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
