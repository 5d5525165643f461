"""One worker, seen from the host: a process that holds one model and answers one batch at a time.

loading -> idle <-> busy -> ending -> gone        any state -> ending when the process dies
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence

from modelplex.runtime import frames
from modelplex.workers import invocations
from modelplex.workers.errors import TimedOut, WorkerDied
from modelplex.workers.forker import Forker
from modelplex.workers.invocations import Answer, Invocation
from modelplex.workers.limits import PoolLimits
from modelplex.workers.loaded import Loaded
from modelplex.workers.output import Output

__all__ = ["Answer", "Done", "Invocation", "Worker"]

_TRACEBACK_S = 0.5  # from SIGABRT, on which a hung worker writes where it hangs, to SIGKILL

Done = Callable[[list[Answer] | WorkerDied], None]


class Worker(Loaded):
    """A loaded model. Made by `Pool.load`, or by `Template.fork`."""

    def __init__(
        self, name: str, pid: int, parent: Forker, output: Output, limits: PoolLimits
    ) -> None:
        super().__init__(name, pid, parent, output, limits)
        self._number = 0  # of the batch being answered
        self._done: Done | None = None  # who waits for its answers
        self._answers: list[Answer] = []  # those that are there already
        self._free: asyncio.Future[None] | None = None  # for those who wait for their turn
        self._deadline = 0.0  # of the batch being answered
        self._timeout_s = 0.0
        self._watch: asyncio.TimerHandle | None = None  # not one for each request: see `_look`
        self._watch_at = 0.0

    @property
    def busy(self) -> bool:
        """Whether it has a batch to answer."""
        return self._done is not None

    def submit(self, batch: Sequence[Invocation], timeout_s: float, done: Done) -> None:
        """Has a batch answered by an idle worker; `done` hears of it later, exactly once.

        A handler that takes longer than `timeout_s` costs the worker its life: `done` gets
        TimedOut. Raises ValueError for a body or headers above the limit, and then nothing was
        sent; RuntimeError when it is busy.
        """
        if self._done is not None:
            raise RuntimeError(f"{self!r} is asked to answer two batches at once")
        number = self._number = (self._number + 1) & 0xFFFFFFFF
        parts = invocations.encode(number, batch, self._limits.body_bytes_max)
        if self._process.ending:
            self._loop.call_soon(done, self._death())
            return
        self._done = done
        self._timeout_s = timeout_s
        self._deadline = deadline = self._loop.time() + timeout_s
        if self._watch is None or deadline < self._watch_at:
            self._watch_until(deadline)
        self._channel.send(parts)

    async def invoke(self, request: Invocation, timeout_s: float) -> Answer:
        """Has one request answered.

        When the caller is cancelled the handler finishes all the same, and its answer is dropped;
        the next request waits for that. Raises WorkerDied, TimedOut, and ValueError for a body
        above the limit.
        """
        invocations.check(request.body, self._limits.body_bytes_max)
        while self._done is not None:
            self._free = self._free or self._loop.create_future()
            await asyncio.wait([self._free])
        call: asyncio.Future[Answer] = self._loop.create_future()

        def done(outcome: list[Answer] | WorkerDied) -> None:
            if call.done():
                return
            if isinstance(outcome, WorkerDied):
                call.set_exception(outcome)
            else:
                call.set_result(outcome[0])

        self.submit([request], timeout_s, done)
        return await call

    def __repr__(self) -> str:
        state = "gone" if self.exited.done() else "busy" if self.busy else "idle"
        return f"<Worker {self.pid} {self.name}: {state}>"

    def _on_frame(self, frame: frames.Frame) -> None:
        if frame.kind != frames.ANSWER:
            super()._on_frame(frame)
        elif frame.request == self._number and self._done is not None:
            answers = self._answers
            answers.append(invocations.decode(frame))
            if frame.left == 0:
                self._answers = []
                self._settle(answers)

    def _settle(self, outcome: list[Answer] | WorkerDied) -> None:
        """Ends the batch under way, if there is one."""
        done, self._done = self._done, None
        free, self._free = self._free, None
        if free is not None:
            free.set_result(None)
        if done is not None:
            done(outcome)

    def _watch_until(self, deadline: float) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._watch_at = deadline
        self._watch = self._loop.call_at(deadline, self._look)

    def _look(self) -> None:
        """The time of an earlier batch is over; perhaps the present one's is not."""
        self._watch = None
        if self._done is None:
            return
        if self._deadline > self._loop.time():
            self._watch_until(self._deadline)
            return
        reason = f"the handler took longer than {self._timeout_s:g} s"
        self._process.signal(signal.SIGABRT, reason)
        self._loop.call_later(_TRACEBACK_S, self._process.signal, signal.SIGKILL)
        self._settle(TimedOut(reason))

    def _died(self, error: WorkerDied) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self._settle(error)
