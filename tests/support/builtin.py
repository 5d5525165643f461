"""Built-in images in tests: built once, in a store that outlives the run, asked without a platform.

A model's files are made by a script in the image's own Python, since the tests' has no frameworks;
they are kept beside the images, by the content of image and script.
"""

from __future__ import annotations

import asyncio
import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from modelplex.images import builtin_images
from modelplex.images.environment import BuildFailed
from modelplex.images.store import BuiltImage, ImageStore
from modelplex.workers.image import ImageSpec
from modelplex.workers.model import ModelSpec
from modelplex.workers.pools import Pools
from modelplex.workers.worker import Answer, Invocation, Worker

FOLDER = Path(sys.prefix) / "builtin-images"  # inside .venv, so it goes where that goes
MODELS = Path(sys.prefix) / "builtin-models"
TIMEOUT_S = 120.0
SCRIPT_TIMEOUT_S = 300
# What pip says when it finds no index, rather than a mistake of ours.
_NO_INDEX = ("No matching distribution", "Could not find a version", "ConnectionError", "timed out")

T = TypeVar("T")


@functools.lru_cache
def image(name: str) -> BuiltImage:
    """The built-in image, built if it is not; skips where its packages cannot be had.

    Its packages are compiled as they are imported: compiling all of PyTorch takes longer than to
    unpack it.
    """
    os.environ.setdefault("PIP_COMPILE", "0")
    try:
        return builtin_images.make(ImageStore(FOLDER), name, lambda *_: None).image
    except BuildFailed as error:
        if any(words in error.tail for words in _NO_INDEX):
            pytest.skip(f"the packages of {name} cannot be installed here: {error.tail[-300:]}")
        raise


def made(built: BuiltImage, script: str) -> Path:
    """A folder with what `script` wrote into its working directory, in the image's Python."""
    digest = hashlib.sha256(f"{built.hash}\0{script}".encode()).hexdigest()[:24]
    folder = MODELS / digest
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs at once must not see half a model
        if not folder.exists():
            unfinished = folder.with_suffix(".new")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            command = [str(built.python), "-W", "ignore", "-c", script]
            subprocess.run(command, cwd=unfinished, check=True, timeout=SCRIPT_TIMEOUT_S)
            unfinished.rename(folder)
    return folder


class Served:
    """One loaded model. `printed` is what it has written so far."""

    def __init__(self, host: Host, worker: Worker, printed: list[str]) -> None:
        self._host = host
        self.worker = worker
        self.printed = printed

    def ask(self, body: bytes | str, content_type: str = "", accept: str = "") -> Answer:
        """The answer to one request."""
        return self.ask_all((body, content_type, accept))[0]

    def ask_all(self, *requests: tuple[bytes | str, str, str]) -> list[Answer]:
        """The answers to requests that the handler gets in one batch."""
        return self._host.run(self._submit([_invocation(*request) for request in requests]))

    async def _submit(self, batch: list[Invocation]) -> list[Answer]:
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.worker.submit(batch, TIMEOUT_S, answered.set_result)
        outcome = await answered
        if isinstance(outcome, BaseException):
            raise outcome
        return list(outcome)


class Host:
    """Pools of built-in images, one for each image and environment, on a loop of their own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._pools: dict[tuple[str, frozenset[tuple[str, str]]], Pools] = {}
        self._printed: dict[str, list[str]] = {}
        self._loaded = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine, from any thread but the loop's."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(TIMEOUT_S)

    def load(self, built: BuiltImage, folder: Path, **environment: str) -> Served:
        """Loads the model in a folder. Raises LoadFailed."""
        return self.run(self._load(built, folder, environment))

    async def _load(self, built: BuiltImage, folder: Path, environment: dict[str, str]) -> Served:
        key = (built.hash, frozenset(environment.items()))
        if key not in self._pools:
            spec = ImageSpec(built.folder, built.python, built.handler, built.preload)
            variables = {"SAGEMAKER_MULTI_MODEL": "true", **built.environment, **environment}
            self._pools[key] = Pools(spec, variables, self._on_output)
            await self._pools[key].start()
        self._loaded += 1
        name = f"m{self._loaded}"
        printed = self._printed.setdefault(name, [])
        model = ModelSpec(name, folder, batch_size=built.batch_max)
        return Served(self, await self._pools[key].load(model, TIMEOUT_S), printed)

    def _on_output(self, model: str, line: str) -> None:
        self._printed.setdefault(model, []).append(line)

    def close(self) -> None:
        """Ends every process."""
        for pools in self._pools.values():
            self.run(pools.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _invocation(body: bytes | str, content_type: str, accept: str) -> Invocation:
    given = {b"content-type": content_type, b"accept": accept}
    headers = [(name, value.encode()) for name, value in given.items() if value]
    return Invocation(headers, body.encode() if isinstance(body, str) else body)
