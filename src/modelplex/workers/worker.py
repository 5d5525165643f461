"""One worker, seen from the host: a process that holds one model and answers one request at a time.

loading -> idle <-> busy -> ending -> gone        any state -> ending when the process dies
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import socket
from pathlib import Path
from typing import NamedTuple

from modelplex.runtime import frames, imports
from modelplex.workers.channel import Channel
from modelplex.workers.errors import LoadFailed, OutOfMemory, TimedOut, WorkerDied
from modelplex.workers.image import ImageSpec
from modelplex.workers.limits import PoolLimits
from modelplex.workers.output import Output
from modelplex.workers.process import ExitStatus, Process, private_bytes, pss_bytes
from modelplex.workers.zygote import Zygote

_LAST_WORDS_S = 1.0  # how long a dead worker's socket is read on, for an answer under way
_TRACEBACK_S = 0.5  # from SIGABRT, on which a hung worker writes where it hangs, to SIGKILL
_MEMORY_WORDS = ("bad_alloc", "MemoryError", "annot allocate memory", "Thread creation failed")
_REPORT_BYTES_MIN = 1024 * 1024  # what a worker may always send, for its own messages


class Invocation(NamedTuple):  # as Answer, made once a request: cheaper than a dataclass
    """A request for a handler."""

    headers: list[tuple[str, str]]
    body: bytes


class Answer(NamedTuple):
    """What a handler answered. A status that is not 2xx has its message in the body."""

    status: int
    phrase: str
    headers: list[tuple[str, str]]
    body: bytes


class Worker:
    """A loaded model. Made by `Pool.load`."""

    def __init__(
        self, name: str, pid: int, zygote: Zygote, output: Output, limits: PoolLimits
    ) -> None:
        self.name = name
        self._limits = limits
        self._zygote = zygote
        self._output = output
        self._loop = asyncio.get_running_loop()
        self._process = Process(pid, self._reap, self._lost)
        report_bytes_max = max(limits.response_bytes_max, _REPORT_BYTES_MIN)
        self._channel = Channel(self._on_frame, report_bytes_max)
        self._loaded: asyncio.Future[frames.Frame] | None = None
        self._numbers = itertools.count(1)
        self._request = 0  # the number of the request being answered
        self._call: asyncio.Future[Answer] | None = None  # its answer; the caller may have left
        self._idle: asyncio.Future[None] | None = None  # resolves when that call is over
        self._timer: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int:
        """Its process id, and its process group's."""
        return self._process.pid

    @property
    def exited(self) -> asyncio.Future[ExitStatus]:
        """Resolves when the process is gone, whoever ended it, and all it printed was taken."""
        return self._process.exited

    def memory_bytes(self) -> int:
        """What it takes beside its zygote, whose pages it shares; 0 when it is gone.

        Once that zygote is gone, its pages are left to the workers, in equal parts.
        """
        if self.exited.done():
            return 0
        return pss_bytes(self.pid) if self._zygote.exited.done() else private_bytes(self.pid)

    async def load(
        self, sock: socket.socket, folder: Path, image: ImageSpec, limit_bytes: int
    ) -> list[str]:
        """Has the model loaded; returns the modules it imported.

        Raises LoadFailed, OutOfMemory, WorkerDied.
        """
        await self._channel.open(sock)
        self._channel.lost.add_done_callback(self._disconnected)
        if self.exited.done():
            raise self._death()
        self._loaded = self._loop.create_future()
        meta = [("name", self.name), ("folder", str(folder)), ("code", str(image.code))]
        meta += [("handler", image.handler), ("limit_bytes", str(limit_bytes))]
        meta.append(("later_bytes", str(self._limits.memory_bytes_max)))
        meta.append(("slack_bytes", str(self._limits.memory_slack_bytes)))
        meta.append(("response_bytes_max", str(self._limits.response_bytes_max)))
        self._channel.send(frames.LOAD, 0, meta)
        frame = await self._loaded
        if frame.kind == frames.LOAD_FAILED:
            raise _load_error(dict(frame.meta))
        return imports.unpack(frame.body)

    async def invoke(self, request: Invocation, timeout_s: float) -> Answer:
        """Has one request answered.

        When the caller is cancelled the handler finishes all the same, and its answer is dropped;
        the next request waits for that. A handler that takes longer than `timeout_s` costs the
        worker its life. Raises WorkerDied, TimedOut, and ValueError for a body above the limit.
        """
        if len(request.body) > self._limits.body_bytes_max:
            size, limit = len(request.body), self._limits.body_bytes_max
            raise ValueError(f"the request has {size} bytes; at most {limit} are allowed")
        while self._idle is not None:
            await asyncio.wait([self._idle])
        if self.exited.done() or self._process.reason:
            raise self._death()
        self._request = next(self._numbers) & 0xFFFFFFFF
        self._channel.send(frames.INVOKE, self._request, request.headers, request.body)
        self._call = call = self._loop.create_future()
        self._idle = self._loop.create_future()
        self._timer = self._loop.call_later(timeout_s, self._time_out, timeout_s)
        answer: Answer = await call
        return answer

    async def unload(self) -> int:
        """Ends the process and all it started; returns the bytes that it took."""
        freed = self.memory_bytes()
        await self._process.stop(self._limits.unload_timeout_s, "unloaded")
        return freed

    async def kill(self, reason: str) -> None:
        """Ends the process at once."""
        self._process.signal(signal.SIGKILL, reason)
        await asyncio.shield(self.exited)

    def __repr__(self) -> str:
        state = "gone" if self.exited.done() else "busy" if self._idle else "idle"
        return f"<Worker {self.pid} {self.name}: {state}>"

    def _on_frame(self, frame: frames.Frame) -> None:
        if frame.kind == frames.ANSWER and frame.request == self._request:
            self._settle(_answer(frame))
        elif self._loaded is not None and not self._loaded.done():
            self._loaded.set_result(frame)

    def _settle(self, outcome: Answer | WorkerDied) -> None:
        """Ends the call under way, if there is one."""
        call, self._call = self._call, None
        idle, self._idle = self._idle, None
        if self._timer is not None:
            self._timer.cancel()
        if idle is not None:
            idle.set_result(None)
        if call is None or call.done():
            return
        if isinstance(outcome, Answer):
            call.set_result(outcome)
        else:
            call.set_exception(outcome)

    def _time_out(self, timeout_s: float) -> None:
        reason = f"the handler took longer than {timeout_s:g} s"
        self._process.signal(signal.SIGABRT, reason)
        self._loop.call_later(_TRACEBACK_S, self._process.signal, signal.SIGKILL)
        self._settle(TimedOut(reason))

    def _death(self) -> WorkerDied:
        how = self.exited.result() if self.exited.done() else f"killed: {self._process.reason}"
        return WorkerDied(f"the worker ended: {how}")

    def _disconnected(self, _: asyncio.Future[None]) -> None:
        """Normally the first sign of its end; otherwise the handler has closed the socket."""
        reason = "it closed its connection"
        self._loop.call_later(_LAST_WORDS_S, self._process.signal, signal.SIGKILL, reason)

    async def _reap(self) -> int | None:
        return await self._zygote.reap(self.pid)

    async def _lost(self, status: ExitStatus) -> None:
        await asyncio.wait([self._channel.lost], timeout=_LAST_WORDS_S)
        self._channel.close()
        self._output.close()
        died = WorkerDied(f"the worker ended: {status}")
        if self._loaded is not None and not self._loaded.done():
            self._loaded.set_exception(self._load_death(status, died))
        self._settle(died)

    def _load_death(self, status: ExitStatus, died: WorkerDied) -> Exception:
        """What a death during the load means: a lack of memory has more faces than one."""
        last_words = "\n".join(self._output.tail)
        said_so = not status.reason and any(words in last_words for words in _MEMORY_WORDS)
        if status.out_of_memory or said_so:
            return OutOfMemory(f"the worker ended while it loaded the model: {status}")
        return died


def _answer(frame: frames.Frame) -> Answer:
    (_, status), (_, phrase), *headers = frame.meta
    return Answer(int(status), phrase, headers, bytes(frame.body))


def _load_error(meta: dict[str, str]) -> LoadFailed:
    status = int(meta["status"])
    return OutOfMemory() if status == 507 else LoadFailed(meta["message"], status)
