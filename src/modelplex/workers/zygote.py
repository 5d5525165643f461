"""One running zygote, seen from the host: starts it, has it fork and reap, and buries it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modelplex.runtime import frames, imports
from modelplex.workers import priority
from modelplex.workers.channel import Channel
from modelplex.workers.errors import StartFailed
from modelplex.workers.forker import Forker
from modelplex.workers.image import ImageSpec
from modelplex.workers.limits import PoolLimits
from modelplex.workers.output import Output
from modelplex.workers.process import ExitStatus, Process, resident_bytes

log = logging.getLogger(__name__)

_MAIN = Path(frames.__file__).with_name("__main__.py")
_REPORT_BYTES_MAX = 4 * imports.LEARNED_BYTES_MAX


class Zygote:
    """A zygote process. `start` first; afterwards `exited` tells of its end."""

    def __init__(self, image: ImageSpec, limits: PoolLimits) -> None:
        self.base_bytes = 0  # what it had in memory when it was ready, and all workers share
        self._image = image
        self._limits = limits
        self._started: asyncio.Future[frames.Frame] = asyncio.get_running_loop().create_future()
        self._loading = 0
        self._retired = False
        self._process: Process
        self._output: Output
        self.forker: Forker
        self._channel = Channel(self._on_frame, _REPORT_BYTES_MAX)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def exited(self) -> asyncio.Future[ExitStatus]:
        """Resolves when the process is gone."""
        return self._process.exited

    async def start(
        self,
        environment: dict[str, str],
        preload: tuple[str, ...],
        lifeline: int,
        on_line: Callable[[str], None],
    ) -> list[str]:
        """Starts the process and waits until it can fork. Returns what the image's handler imports.

        `lifeline` is the read end of the pipe that ties it to this process. Raises StartFailed.
        """
        ours = self._spawn(environment, lifeline, on_line)
        self.forker = Forker(self._process, self._channel, self._limits.fork_timeout_s)
        self._channel.open(ours)
        values = {
            "handler": self._image.handler,
            "code": str(self._image.code),
            "obey_permissions": self._limits.obey_permissions,
        }
        self._channel.send(frames.order(frames.START, 0, imports.pack(list(preload)), **values))
        priority.give_way(self.pid)
        limit = self._limits.start_timeout_s
        waiting: list[asyncio.Future[Any]] = [self._started, self._process.exited]
        try:
            await asyncio.wait(waiting, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            return await self._outcome()
        except asyncio.CancelledError:
            self._process.signal(signal.SIGKILL, "start given up")
            await asyncio.shield(self.exited)
            raise

    @contextmanager
    def loading(self) -> Iterator[None]:
        """While a model is being loaded from it, a zygote is not retired."""
        self._loading += 1
        try:
            yield
        finally:
            self._loading -= 1
            self._leave_if_idle()

    @property
    def busy(self) -> bool:
        """Whether something is being loaded from it."""
        return self._loading > 0

    def retire(self) -> None:
        """Lets the zygote end as soon as nothing is loading from it; its workers live on."""
        self._retired = True
        self._leave_if_idle()

    async def stop(self) -> None:
        """Ends the zygote now and waits for that."""
        await self._process.stop(0.0, "stopped")

    def _leave_if_idle(self) -> None:
        if self._retired and self._loading == 0:
            self._process.signal(signal.SIGTERM, "retired")

    def _spawn(
        self, environment: dict[str, str], lifeline: int, on_line: Callable[[str], None]
    ) -> socket.socket:
        ours, theirs = socket.socketpair()
        read, write = os.pipe()
        control = theirs.fileno()
        try:
            popen = subprocess.Popen(
                [self._image.python, "-s", _MAIN, str(control), str(lifeline)],
                stdin=subprocess.DEVNULL,
                stdout=write,
                stderr=write,
                env=environment,
                cwd=self._image.code,
                pass_fds=(control, lifeline),
                start_new_session=True,  # Ctrl-C in a terminal is the supervisor's business
            )
        except (OSError, ValueError) as error:
            ours.close()
            os.close(read)
            raise StartFailed(f"cannot run {self._image.python}: {error}") from error
        finally:
            theirs.close()
            os.close(write)

        async def reap() -> int:
            return popen.wait()

        self._output = Output(read, on_line, self._limits)
        self._process = Process(popen.pid, reap, self._lost)
        return ours

    async def _outcome(self) -> list[str]:
        if not self._started.done():
            limit = self._limits.start_timeout_s
            await self._process.stop(0.0, f"not ready after {limit:g} s")
            text = f"the image's Python ended before it was ready ({self.exited.result()})"
            raise StartFailed("\n".join([text, *self._output.tail]))
        frame = self._started.result()
        values = frame.values()
        if frame.kind == frames.START_FAILED:
            await self.stop()
            raise StartFailed(values["reason"])
        priority.restore(self.pid)
        self.base_bytes = resident_bytes(self.pid)
        log.info("zygote.ready", extra={"pid": self.pid, "threads": values["threads"]})
        return imports.unpack(frame.body)

    def _on_frame(self, frame: frames.Frame) -> None:
        if frame.kind in {frames.READY, frames.START_FAILED}:
            self._started.set_result(frame)
        else:
            self.forker.take(frame)

    async def _lost(self, _: ExitStatus) -> None:
        self._channel.close()
        self._output.close()
        self.forker.lost()
