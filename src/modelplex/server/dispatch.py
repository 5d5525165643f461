"""Which request of a model goes to which of its workers, and when.

Decisions only: the clock, the timer and the workers are arguments, and nothing here waits. A
request is in one place: in the queue, with a worker, or answered; and it is answered once.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from modelplex.server.errors import BadRequest, Internal, ServerError, Unavailable
from modelplex.workers.errors import WorkerDied
from modelplex.workers.invocations import Answer, Invocation

log = logging.getLogger(__name__)

Done = Callable[[Answer | ServerError], None]
Gone = Callable[[], bool]
Outcome = list[Answer] | WorkerDied


_GONE = "The client has closed its connection."


class Hand(Protocol):
    """What is asked of a worker."""

    def submit(
        self, batch: Sequence[Invocation], timeout_s: float, done: Callable[[Outcome], None]
    ) -> None:
        """Has the batch answered, in its order. Calls `done` later, never before it returns.

        Raises ValueError when the batch cannot be sent; the worker is idle then.
        """


class Waiting(NamedTuple):
    """A request in the queue, and when it came."""

    invocation: Invocation
    done: Done
    gone: Gone
    since: float


class Seat:
    """One worker's place: idle, or with those whose requests it works on."""

    __slots__ = ("answered", "calls", "hand", "on_free")

    def __init__(self, hand: Hand, answered: Callable[[Seat, Outcome], None]) -> None:
        self.hand = hand
        self.calls: Sequence[Done] = ()  # empty: it does nothing
        self.on_free: Callable[[], None] | None = None  # set: it gets nothing more
        self.answered: Callable[[Outcome], None] = lambda outcome: answered(self, outcome)

    def free(self) -> None:
        """Tells the one who waits for its last answer, once."""
        on_free, self.on_free = self.on_free, None
        if on_free is not None:
            on_free()


class Dispatch:
    """The queue of one model, and the workers that it feeds."""

    def __init__(
        self,
        *,
        model: str,
        queue_max: int,
        batch_size: int,
        delay_s: float,
        timeout_s: float,
        clock: Callable[[], float],
        wake_at: Callable[[float], None],
    ) -> None:
        """A batch leaves when it is full, or its first request has waited `delay_s`. `wake_at` is
        asked to have `tick` called at a time of `clock`; an earlier call does no harm."""
        self._model = model
        self._queue_max = queue_max
        self._batch_size = batch_size
        self._full = max(1, min(batch_size, queue_max))  # a longer queue cannot be
        self._delay_s = delay_s
        self._timeout_s = timeout_s
        self._clock = clock
        self._wake_at = wake_at
        self._queue: deque[Waiting] = deque()
        self._seats: set[Seat] = set()
        self._idle: list[Seat] = []  # the last one is the warmest
        self._direct = batch_size == 1  # whether an idle worker gets a request without the queue
        self._staffed = True
        self._refusal: ServerError | None = None
        self._on_empty: Callable[[], None] | None = None

    @property
    def queued(self) -> int:
        """Requests that wait."""
        return len(self._queue)

    # -- requests -----------------------------------------------------------------------------

    def submit(self, invocation: Invocation, done: Done, gone: Gone) -> None:
        """Takes a request. `done` gets its answer or refusal once, maybe before this returns."""
        if self._direct and self._idle:
            seat = self._idle.pop()
            seat.calls = (done,)
            try:
                seat.hand.submit((invocation,), self._timeout_s, seat.answered)
            except ValueError as error:
                self._unsent(seat, error)
            return
        refusal = self._refusal or self._no_room()
        if refusal is not None:
            done(refusal)
            return
        self._queue.append(Waiting(invocation, done, gone, self._clock()))
        self._match()

    def tick(self) -> None:
        """The time that `wake_at` was told has come."""
        self._match()

    # -- workers ------------------------------------------------------------------------------

    def join(self, hand: Hand) -> Seat:
        """A worker that is ready for its first request."""
        seat = Seat(hand, self._answered)
        self._seats.add(seat)
        self._idle.append(seat)
        self._match()
        return seat

    def retire(self, seat: Seat, on_free: Callable[[], None]) -> None:
        """A worker that is to get nothing more; `on_free` is called when it has nothing to do."""
        seat.on_free = on_free
        if seat in self._idle:
            self._idle.remove(seat)
        if not seat.calls:
            seat.free()

    def leave(self, seat: Seat, how: WorkerDied) -> None:
        """A worker whose process has ended."""
        self._seats.discard(seat)
        if seat in self._idle:
            self._idle.remove(seat)
        if seat.calls:
            self._answered(seat, how)
        seat.free()
        self._settle()

    def is_busy(self, seat: Seat) -> bool:
        """Whether it works on something."""
        return bool(seat.calls)

    # -- ends ---------------------------------------------------------------------------------

    def staff(self, staffed: bool) -> None:
        """Whether there are workers, or some to come; without any, requests are refused."""
        self._staffed = staffed
        if not staffed:
            self.abort(self._unavailable())

    def strand(self, error: ServerError) -> None:
        """A worker could not be started: whoever waits for one, and there is none, is refused."""
        if not self._seats:
            self.abort(error)

    def close(self, refusal: ServerError, on_empty: Callable[[], None]) -> None:
        """From now on requests are refused; `on_empty` is called when those that came before are
        answered. The first refusal stays."""
        self._refusal = self._refusal or refusal
        self._direct = False
        self._on_empty = on_empty
        self._match()
        self._settle()

    def abort(self, error: ServerError) -> None:
        """Refuses what waits in the queue."""
        waiting, self._queue = self._queue, deque()
        for request in waiting:
            _tell(request.done, error)
        self._settle()

    # -- the decisions ------------------------------------------------------------------------

    def _answered(self, seat: Seat, outcome: Outcome) -> None:
        calls, seat.calls = seat.calls, ()
        if not isinstance(outcome, list):
            self._lost(calls, outcome)
        elif seat.on_free is None:
            self._idle.append(seat)
            if self._queue:  # before the answers are written: the worker has waited for us enough
                self._match()
            for call, answer in zip(calls, outcome, strict=True):
                _tell(call, answer)
        else:
            for call, answer in zip(calls, outcome, strict=True):
                _tell(call, answer)
            seat.free()
        if self._on_empty is not None:
            self._settle()

    def _lost(self, calls: Sequence[Done], how: WorkerDied) -> None:
        """The worker stays where it is, neither idle nor busy, until `leave`."""
        error = Internal(f"Worker died: {str(how).removeprefix('the worker ended: ')}")
        for call in calls:
            _tell(call, error)

    def _unsent(self, seat: Seat, error: ValueError) -> None:
        calls, seat.calls = seat.calls, ()
        self._idle.append(seat)
        for call in calls:
            _tell(call, BadRequest(f"The request cannot be sent to a worker: {error}"))

    def _match(self) -> None:
        """Hands out batches as long as one is due and a worker idle."""
        while self._queue and self._idle:
            if not self._is_due():
                self._wake_at(self._queue[0].since + self._delay_s)
                return
            seat = self._idle.pop()  # first: who is told something may submit again
            batch = self._take()
            if not batch:
                self._idle.append(seat)
                continue
            seat.calls = [request.done for request in batch]
            invocations = [request.invocation for request in batch]
            try:
                seat.hand.submit(invocations, self._timeout_s, seat.answered)
            except ValueError as error:
                self._unsent(seat, error)

    def _is_due(self) -> bool:
        queue = self._queue
        if len(queue) >= self._full or self._refusal is not None:
            return True
        return self._clock() >= queue[0].since + self._delay_s

    def _take(self) -> list[Waiting]:
        """The next batch, without those whose client has left."""
        batch: list[Waiting] = []
        while self._queue and len(batch) < self._batch_size:
            request = self._queue.popleft()
            if request.gone():
                _tell(request.done, Unavailable(_GONE))
            else:
                batch.append(request)
        return batch

    def _no_room(self) -> ServerError | None:
        if not self._staffed:
            return self._unavailable()
        if len(self._queue) < self._queue_max:
            return None
        self._forget_gone()
        return None if len(self._queue) < self._queue_max else self._unavailable()

    def _forget_gone(self) -> None:
        queue, self._queue = self._queue, deque()
        left: list[Waiting] = []
        for request in queue:
            (left if request.gone() else self._queue).append(request)
        for request in left:
            _tell(request.done, Unavailable(_GONE))

    def _settle(self) -> None:
        if self._on_empty is None or self._queue or any(seat.calls for seat in self._seats):
            return
        on_empty, self._on_empty = self._on_empty, None
        on_empty()

    def _unavailable(self) -> Unavailable:
        """Multi Model Server's text."""
        return Unavailable(
            f"No worker is available to serve request for model: {self._model}."
            " Consider increasing job queue size."
        )


def _tell(done: Done, outcome: Answer | ServerError) -> None:
    """A caller that fails must not take the others' answers with it."""
    try:
        done(outcome)
    except Exception:
        log.critical("dispatch.defect", exc_info=True)
