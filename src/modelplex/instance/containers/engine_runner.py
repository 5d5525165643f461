"""Containers that an engine runs: a Runner around what blocks.

start   image found or pulled, what an earlier life left removed, watch begun, container run
wait    a thread waits for its end; another reads its output, which comes out before the end does
stop    SIGTERM, SIGKILL, container removed, watch and threads ended
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

from modelplex.engine import EngineError
from modelplex.instance.containers.engine_life import EngineLife, Platform
from modelplex.instance.containers.engine_supply import Supply
from modelplex.instance.containers.images import OciImage
from modelplex.instance.containers.runner import MODEL_PATH, MODELS_PATH, Ended, Surroundings
from modelplex.workers.errors import StartFailed

GIVE_UP_S = 5.0  # for a start that is not wanted any more to notice
LAST_LINES_S = 2.0  # for the last output, after the end
LINES_AHEAD_MAX = 1000  # read from the container and not yet logged; then its engine keeps them


class EngineRunners:
    """Makes the runners of one instance's container."""

    def __init__(self, image: OciImage, pull_timeout_s: float) -> None:
        """To be made while the process that started this one is certainly alive."""
        self._supply = Supply(image, pull_timeout_s)
        self._platform = Platform.of_this_process()

    def __call__(self, surroundings: Surroundings) -> EngineRunner:
        return EngineRunner(self._supply, self._platform, surroundings)


class EngineRunner:
    """A Runner (`runner.py`)."""

    def __init__(self, supply: Supply, platform: Platform, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._life = EngineLife(supply, platform, surroundings, self._print)
        self._loop = asyncio.get_running_loop()
        self._starting: asyncio.Future[str] | None = None
        self._ended: asyncio.Future[Ended] = self._loop.create_future()
        self._lines_ahead = threading.BoundedSemaphore(LINES_AHEAD_MAX)
        self._threads: list[threading.Thread] = []
        self._stopping = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """Of the container's first process; None where this machine does not show it."""
        return self._life.pid

    def path(self, folder: Path) -> str:
        """Where the container sees a folder of the instance's disk."""
        own = self._surroundings
        if own.model is not None:
            return str(MODEL_PATH / folder.relative_to(own.model))
        return str(MODELS_PATH / folder.relative_to(own.models))

    async def start(self) -> str:
        """Its address. Raises StartFailed."""
        self._starting = asyncio.ensure_future(asyncio.to_thread(self._life.start))
        self._starting.add_done_callback(_note_failure)
        try:
            address = await asyncio.shield(self._starting)
        except EngineError as error:
            raise StartFailed(str(error)) from error
        reader = self._in_thread("output", self._life.read_output)
        self._in_thread("end", lambda: self._await_end(reader))
        return address

    async def wait(self) -> Ended:
        """How it ended."""
        return await asyncio.shield(self._ended)

    async def stop(self, grace_s: float) -> None:
        """End it and remove it."""
        async with self._stopping:
            self._life.unwanted.set()
            try:
                if self._starting is not None:
                    await asyncio.wait([self._starting], timeout=GIVE_UP_S)
                if self._threads and not self._ended.done():
                    await asyncio.to_thread(self._life.terminate)
                    await asyncio.wait([self._ended], timeout=grace_s)
            finally:
                await asyncio.to_thread(self._remove)

    async def memory_bytes(self) -> int:
        """What it takes now; 0 when it does not run."""
        if not self._threads or self._ended.done():
            return 0
        return await asyncio.to_thread(self._life.memory_bytes)

    def _remove(self) -> None:
        self._life.remove(started=self._starting is None or self._starting.done())
        for thread in self._threads:
            thread.join(LAST_LINES_S)

    # -- between threads and loop ----------------------------------------------------------------

    def _in_thread(self, name: str, work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=work, name=f"container-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _await_end(self, reader: threading.Thread) -> None:
        end = self._life.end()
        reader.join(LAST_LINES_S)
        self._tell(lambda: self._ended.set_result(Ended(end.text, end.out_of_memory)))

    def _print(self, line: str) -> None:
        """Hand a line to the loop; waits while that has many before it."""
        self._lines_ahead.acquire()
        self._tell(lambda: self._deliver(line))

    def _deliver(self, line: str) -> None:
        self._lines_ahead.release()
        self._surroundings.on_output(line)

    def _tell(self, call: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: there is nobody left to tell
            self._loop.call_soon_threadsafe(call)


def _note_failure(starting: asyncio.Future[str]) -> None:
    """Nobody else looks at it when `start` was cancelled."""
    if not starting.cancelled():
        starting.exception()
