"""One worker, seen from the host: a process that holds one model and answers one batch at a time.

loading -> idle <-> busy -> ending -> gone        any state -> ending when the process dies

It answers in the order in which it is asked. A few batches may be sent ahead of their turn: the
process then finds the next one in its socket, and neither side has to be woken for it.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from modelplex.runtime import frames
from modelplex.workers import invocations
from modelplex.workers.errors import NotBegun, TimedOut, WorkerDied
from modelplex.workers.forker import Forker
from modelplex.workers.invocations import Answer, Invocation
from modelplex.workers.limits import PoolLimits
from modelplex.workers.loaded import Loaded
from modelplex.workers.model import ModelSpec
from modelplex.workers.output import Output

__all__ = ["Answer", "Done", "Invocation", "Worker"]

AHEAD_MAX = 16  # batches sent and not answered; more: RuntimeError
_TRACEBACK_S = 0.5  # from SIGABRT, on which a hung worker writes where it hangs, to SIGKILL

Done = Callable[[list[Answer] | WorkerDied], None]
_Call = tuple[int, float, Done]  # number of the batch, how long it may take, who waits for it


class Worker(Loaded):
    """A loaded model. Made by `Pool.load`, or by `Template.fork`."""

    def __init__(
        self, name: str, pid: int, parent: Forker, output: Output, limits: PoolLimits
    ) -> None:
        super().__init__(name, pid, parent, output, limits)
        self._number = 0  # of the newest batch
        self._calls: deque[_Call] = deque()  # sent and not answered; it works on the first
        self._answers: list[Answer] = []  # to the first, those that are there already
        self._free: asyncio.Future[None] | None = None  # for those who wait for their turn
        self._deadline = 0.0  # of the first
        self.free_at = 0.0  # for its owner: when the turn of the first came, by the owner's clock
        self._watch: asyncio.TimerHandle | None = None  # not one for each request: see `_look`
        self._watch_at = 0.0

    async def become(self, sock: socket.socket, model: ModelSpec) -> None:
        """Makes a process forked from a twin's template this model. Raises as `load`."""
        self.attach(sock)
        await self._ask(frames.LOAD, {"name": model.name, "folder": str(model.folder)})

    @property
    def busy(self) -> bool:
        """Whether it has a batch to answer."""
        return bool(self._calls)

    def submit(self, batch: Sequence[Invocation], timeout_s: float, done: Done) -> None:
        """Has a batch answered; `done` hears of it later, exactly once, in the order of submitting.

        A handler that takes longer than `timeout_s`, counted from when its batch's turn has come,
        costs the worker its life: `done` gets TimedOut, and those of later batches get NotBegun.
        Raises ValueError for a body or headers above the limit, and then nothing was sent;
        RuntimeError when AHEAD_MAX batches are unanswered.
        """
        if len(self._calls) >= AHEAD_MAX:
            raise RuntimeError(f"{self!r} is asked to answer more than {AHEAD_MAX} batches at once")
        number = self._number = (self._number + 1) & 0xFFFFFFFF
        arena = self._channel.arena
        parts = invocations.encode(number, batch, self._limits.body_bytes_max, arena)
        if len(parts) > len(batch):  # a body stands by itself
            self._channel.want_arena(self._is_busy)
        self.call(number, parts, timeout_s, done)

    def call(self, number: int, parts: list[frames.Data], timeout_s: float, done: Done) -> None:
        """Sends frames that are answered by ANSWERs of this number; otherwise as `submit`."""
        calls = self._calls
        if self._process.ending:
            self._loop.call_soon(done, self._death())
            return
        calls.append((number, timeout_s, done))
        if len(calls) == 1:
            self._begin(timeout_s)
            self._channel.send(parts)
        else:
            self._channel.send_later(parts)

    async def turn(self) -> None:
        """Returns when it has nothing to answer."""
        while self._calls:
            self._free = self._free or self._loop.create_future()
            await asyncio.wait([self._free])

    async def invoke(self, request: Invocation, timeout_s: float) -> Answer:
        """Has one request answered.

        When the caller is cancelled the handler finishes all the same, and its answer is dropped;
        the next request waits for that. Raises WorkerDied, TimedOut, and ValueError for a body
        above the limit.
        """
        invocations.check(request.body, self._limits.body_bytes_max)
        await self.turn()
        call: asyncio.Future[Answer] = self._loop.create_future()
        self.submit([request], timeout_s, partial(invocations.settle, call))
        return await call

    def __repr__(self) -> str:
        state = "gone" if self.exited.done() else "busy" if self.busy else "idle"
        return f"<Worker {self.pid} {self.name}: {state}>"

    def _on_frame(self, frame: frames.Frame) -> None:
        if frame.kind == frames.SHARE_MEMORY:
            self._channel.take_arena()
            return
        if frame.kind != frames.ANSWER:
            super()._on_frame(frame)
            return
        calls = self._calls
        if not calls or frame.request != calls[0][0]:
            return
        answer = invocations.decode(frame)
        if len(frame.body) > frames.JOIN_BYTES_MAX and self._channel.arena is None:
            self._channel.want_arena(self._is_busy)
        if frame.left:
            self._answers.append(answer)
            return
        answers, self._answers = self._answers, []
        answers.append(answer)
        _, _, done = calls.popleft()
        if calls:
            self._begin(calls[0][1])
        elif self._free is not None:
            self._tell_free()
        done(answers)

    def _is_busy(self) -> bool:
        return bool(self._calls)

    def _begin(self, timeout_s: float) -> None:
        """The turn of the first batch has come."""
        self._deadline = deadline = self._loop.time() + timeout_s
        if self._watch is None or deadline < self._watch_at:
            self._watch_until(deadline)

    def _fail(self, error: WorkerDied) -> None:
        """It will not answer any more: the first batch is lost, the others were never begun."""
        calls, self._calls = self._calls, deque()
        self._answers = []
        self._tell_free()
        for at, (_, _, done) in enumerate(calls):
            done(error if at == 0 else NotBegun(str(error)))

    def _tell_free(self) -> None:
        free, self._free = self._free, None
        if free is not None:
            free.set_result(None)

    def _watch_until(self, deadline: float) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._watch_at = deadline
        self._watch = self._loop.call_at(deadline, self._look)

    def _look(self) -> None:
        """The time of an earlier batch is over; perhaps the present one's is not."""
        self._watch = None
        if not self._calls:
            return
        if self._deadline > self._loop.time():
            self._watch_until(self._deadline)
            return
        reason = f"the handler took longer than {self._calls[0][1]:g} s"
        self._process.signal(signal.SIGABRT, reason)
        self._loop.call_later(_TRACEBACK_S, self._process.signal, signal.SIGKILL)
        self._fail(TimedOut(reason))

    def _died(self, error: WorkerDied) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self._fail(error)
