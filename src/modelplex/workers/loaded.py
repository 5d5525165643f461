"""A process that has loaded a model, seen from the host: what workers and templates share."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import Any

from modelplex.runtime import frames, imports
from modelplex.workers.channel import Channel
from modelplex.workers.errors import LoadFailed, OutOfMemory, WorkerDied
from modelplex.workers.forker import Forker
from modelplex.workers.image import ImageSpec
from modelplex.workers.limits import PoolLimits
from modelplex.workers.model import ModelSpec
from modelplex.workers.output import Output
from modelplex.workers.process import ExitStatus, Process, private_bytes, pss_bytes

_LAST_WORDS_S = 1.0  # how long a dead worker's socket is read on, for an answer under way
_MEMORY_WORDS = ("bad_alloc", "MemoryError", "annot allocate memory", "Thread creation failed")
_REPORT_BYTES_MIN = 1024 * 1024  # what a worker may always send, for its own messages


class Loaded:
    """A process forked from `parent`, with its connection and its output."""

    template = False

    def __init__(
        self, name: str, pid: int, parent: Forker, output: Output, limits: PoolLimits
    ) -> None:
        self.name = name
        self._limits = limits
        self._parent = parent
        self._output = output
        self._loop = asyncio.get_running_loop()
        self._process = Process(pid, self._reap, self._lost)
        report_bytes_max = max(limits.response_bytes_max, _REPORT_BYTES_MIN)
        self._channel = Channel(self._on_frame, report_bytes_max)
        self._loading: asyncio.Future[frames.Frame] | None = None

    @property
    def pid(self) -> int:
        """Its process id, and its process group's."""
        return self._process.pid

    @property
    def exited(self) -> asyncio.Future[ExitStatus]:
        """Resolves when the process is gone, whoever ended it, and all it printed was taken."""
        return self._process.exited

    def memory_bytes(self) -> int:
        """What it takes beside its parent, whose pages it shares; 0 when it is gone.

        Once that parent is gone, its pages are left to its children, in equal parts.
        """
        if self.exited.done():
            return 0
        return pss_bytes(self.pid) if self._parent.gone else private_bytes(self.pid)

    def attach(self, sock: socket.socket) -> None:
        """Takes over the connection to the process. Raises WorkerDied."""
        self._channel.open(sock)
        self._channel.lost.add_done_callback(self._disconnected)
        if self.exited.done():
            raise self._death()

    async def load(self, sock: socket.socket, model: ModelSpec, image: ImageSpec) -> list[str]:
        """Has the model loaded; returns the modules it imported.

        Raises WorkerDied, OutOfMemory, LoadFailed.
        """
        self.attach(sock)
        self._loading = self._loop.create_future()
        self._channel.send(frames.order(frames.LOAD, **self._order(model, image)))
        frame = await self._loading
        values = frame.values()
        if frame.kind == frames.LOAD_FAILED:
            raise _load_error(values["status"], values["message"])
        self._loaded(values)
        return imports.unpack(frame.body)

    async def unload(self) -> int:
        """Ends the process and all it started; returns the bytes that it took."""
        freed = self.memory_bytes()
        await self._process.stop(self._limits.unload_timeout_s, "unloaded")
        return freed

    async def kill(self, reason: str) -> None:
        """Ends the process at once."""
        self._process.signal(signal.SIGKILL, reason)
        await asyncio.shield(self.exited)

    def _order(self, model: ModelSpec, image: ImageSpec) -> dict[str, Any]:
        limits = self._limits
        return {
            "name": model.name,
            "folder": str(model.folder),
            "code": str(image.code),
            "handler": model.handler,
            "fallback": image.handler,
            "limit_bytes": model.limit_bytes,
            "later_bytes": limits.memory_bytes_max,
            "slack_bytes": limits.memory_slack_bytes,
            "response_bytes_max": limits.response_bytes_max,
            "gpu_id": model.gpu_id,
            "batch_size": model.batch_size,
            "decode": model.decode,
            "template": self.template,
        }

    def _loaded(self, values: dict[str, Any]) -> None:
        """What the process says of itself when it has loaded."""

    def _on_frame(self, frame: frames.Frame) -> None:
        if self._loading is not None and not self._loading.done():
            self._loading.set_result(frame)

    def _died(self, error: WorkerDied) -> None:
        """The process is dead: tells those who wait for it."""

    def _death(self) -> WorkerDied:
        how = self.exited.result() if self.exited.done() else f"killed: {self._process.reason}"
        return WorkerDied(f"the worker ended: {how}")

    def _disconnected(self, _: asyncio.Future[None]) -> None:
        """Normally the first sign of its end; otherwise the handler has closed the socket."""
        reason = "it closed its connection"
        self._loop.call_later(_LAST_WORDS_S, self._process.signal, signal.SIGKILL, reason)

    async def _reap(self) -> int | None:
        return await self._parent.reap(self.pid)

    async def _lost(self, status: ExitStatus) -> None:
        await asyncio.wait([self._channel.lost], timeout=_LAST_WORDS_S)
        self._channel.close()
        self._output.close()
        died = WorkerDied(f"the worker ended: {status}")
        if self._loading is not None and not self._loading.done():
            self._loading.set_exception(self._load_death(status, died))
        self._died(died)

    def _load_death(self, status: ExitStatus, died: WorkerDied) -> Exception:
        """What a death during the load means: a lack of memory has more faces than one."""
        last_words = "\n".join(self._output.tail)
        said_so = not status.reason and any(words in last_words for words in _MEMORY_WORDS)
        if status.out_of_memory or said_so:
            return OutOfMemory(f"the worker ended while it loaded the model: {status}")
        return died


def _load_error(status: int, message: str) -> LoadFailed:
    return OutOfMemory() if status == 507 else LoadFailed(message, status)
