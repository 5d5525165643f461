"""A process that has loaded a model, seen from the host: what workers and templates share."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from pathlib import Path
from typing import Any

from modelplex.runtime import frames, imports
from modelplex.workers import priority
from modelplex.workers.cgroups import Cgroup
from modelplex.workers.channel import Channel
from modelplex.workers.errors import LoadFailed, OutOfMemory, TookTooMuch, WorkerDied
from modelplex.workers.forker import Forker
from modelplex.workers.image import ImageSpec
from modelplex.workers.limits import PoolLimits
from modelplex.workers.model import ModelSpec
from modelplex.workers.output import Output
from modelplex.workers.process import ExitStatus, Process, private_bytes, pss_bytes

log = logging.getLogger(__name__)

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
        self.output = output
        self._loop = asyncio.get_running_loop()
        self._process = Process(pid, self._reap, self._lost)
        report_bytes_max = max(limits.response_bytes_max, _REPORT_BYTES_MIN)
        self._channel = Channel(self._on_frame, report_bytes_max)
        self._loading: asyncio.Future[frames.Frame] | None = None
        self._group = Cgroup(limits.cgroup / f"w{pid}") if limits.cgroup else None
        self.steps: dict[str, float] = {}  # milliseconds of its fork, import and initialize
        self.left_bytes = 0  # of what it took, not given back by its end

    @property
    def pid(self) -> int:
        """Its process id, and its process group's."""
        return self._process.pid

    @property
    def ending(self) -> bool:
        """Whether it is gone, or about to be ended by the host."""
        return self._process.ending

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
        self.confine(model.limit_bytes)
        order = load_order(model, image, self._limits, template=self.template)
        priority.give_way(self.pid)
        frame = await self._ask(frames.LOAD, order)
        priority.restore(self.pid)
        values = frame.values()
        self.steps |= values["steps"]
        self._loaded(values)
        self.confine()
        return imports.unpack(frame.body)

    async def prepare(self, sock: socket.socket, folder: Path, image: ImageSpec) -> None:
        """Has the image's function prepare an artifact in `folder`. Raises as `load`."""
        self.attach(sock)
        self.confine()
        priority.give_way(self.pid)
        order = {"function": image.prepare, "code": str(image.code), "folder": str(folder)}
        await self._ask(frames.PREPARE, order)

    def confine(self, limit_bytes: int = 0) -> None:
        """Sets the limit of the memory cgroup that it has made itself, if there are any.

        0: as much as any worker may take. There is room for copies of the zygote's pages too, which
        RLIMIT_DATA does not count: that one is to be hit first.
        """
        if self._group is None:
            return
        slack = 2 * self._limits.memory_slack_bytes
        limit_bytes = limit_bytes + slack if limit_bytes else self._limits.memory_bytes_max
        try:
            self._group.limit(limit_bytes)
        except OSError as error:
            if not self._process.ending:
                log.warning("cgroup.not_limited", extra={"pid": self.pid, "reason": str(error)})

    async def unload(self) -> int:
        """Ends the process and all it started; returns the bytes that came back."""
        taken = self.memory_bytes()
        await self._process.stop(self._limits.unload_timeout_s, "unloaded")
        return max(0, taken - self.left_bytes)

    def bury(self) -> None:
        """The process is gone, and so should be all that it took."""
        if self._group is not None:
            self.left_bytes = self._group.held_bytes()
            self._group.remove()

    async def kill(self, reason: str) -> None:
        """Ends the process at once."""
        self._process.signal(signal.SIGKILL, reason)
        await asyncio.shield(self.exited)

    async def _ask(self, kind: int, values: dict[str, Any]) -> frames.Frame:
        """Its report on an order that it begins its life with. Raises as `load`."""
        self._loading = self._loop.create_future()
        self._channel.send(frames.order(kind, **values))
        frame = await self._loading
        if frame.kind == frames.LOAD_FAILED:
            failure = frame.values()
            raise load_error(failure["status"], failure["message"])
        return frame

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
        """Its exit code; what the kernel killed for its memory counts as having said so itself."""
        code = await self._parent.reap(self.pid)
        if code == -signal.SIGKILL and self._group is not None and self._group.kills():
            return frames.EXIT_OUT_OF_MEMORY
        return code

    async def _lost(self, status: ExitStatus) -> None:
        await asyncio.wait([self._channel.lost], timeout=_LAST_WORDS_S)
        self._channel.close()
        self.output.close()
        text = f"the worker ended: {status}"
        of_memory = status.code == frames.EXIT_OUT_OF_MEMORY
        died = TookTooMuch(text) if of_memory else WorkerDied(text)
        if self._loading is not None and not self._loading.done():
            self._loading.set_exception(self._load_death(status, died))
        self._died(died)

    def _load_death(self, status: ExitStatus, died: WorkerDied) -> Exception:
        """What a death during the load means."""
        if lacked_memory(status, self.output):
            return OutOfMemory(f"the worker ended while it loaded the model: {status}")
        return died


def load_order(
    model: ModelSpec, image: ImageSpec, limits: PoolLimits, *, template: bool = False
) -> dict[str, Any]:
    """What a process is told to load."""
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
        "template": template,
        "twins": model.twins,
    }


def load_error(status: int, message: str) -> LoadFailed:
    """What a failed load is, by its status."""
    return OutOfMemory() if status == 507 else LoadFailed(message, status)


def lacked_memory(status: ExitStatus, output: Output) -> bool:
    """Whether a process died for lack of memory, which has more faces than one."""
    last_words = "\n".join(output.tail)
    said_so = not status.reason and any(words in last_words for words in _MEMORY_WORDS)
    return status.out_of_memory or said_so
