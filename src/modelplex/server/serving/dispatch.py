"""Which request of a model goes to which of its workers, and when.

Decisions only: the clock, the timer and the workers are arguments, and nothing here waits. A
request is in one place: in the queue, with a worker, or answered; and it is answered once.

The only worker of a model that answers within a fraction of a millisecond is sent a few requests
ahead of their turn: nobody else could take them, and waking a process for each costs more than the
answers. They come back to the queue if the worker ends before it begins them.
"""

from __future__ import annotations

import bisect
import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from modelplex.server.errors import BadRequest, Internal, ServerError, Unavailable
from modelplex.workers.errors import NotBegun, WorkerDied
from modelplex.workers.invocations import Answer, Invocation

log = logging.getLogger(__name__)

Done = Callable[[Answer | ServerError], None]
Gone = Callable[[], bool]
Outcome = list[Answer] | WorkerDied
_new = tuple.__new__  # makes a NamedTuple, several times faster than calling its class

_GONE = "The client has closed its connection."
_AHEAD_MAX = 12  # requests that a brisk worker has at once; less than a worker takes
_AHEAD_BYTES_MAX = 16 * 1024  # a larger body waits in the queue: it would not fit into the socket
_BRISK_S = 0.0005  # mean time of an answer, up to which requests are sent ahead
_SLOW_S = 0.005  # what a slower answer counts for: one hiccup is soon forgotten
_MEMORY = 0.1  # weight of the newest answer in that mean


class Hand(Protocol):
    """What is asked of a worker."""

    def submit(
        self, batch: Sequence[Invocation], timeout_s: float, done: Callable[[Outcome], None]
    ) -> None:
        """Has the batch answered after those before it. Calls `done` later, never before it
        returns.

        Raises ValueError when the batch cannot be sent.
        """


class Waiting(NamedTuple):
    """A request in the queue, and when it came."""

    invocation: Invocation
    done: Done
    gone: Gone
    since: float


class Seat:
    """One worker's place: idle, or with those whose requests it has."""

    __slots__ = ("answered", "batches", "began", "hand", "mean_s", "on_free")

    def __init__(self, hand: Hand, answered: Callable[[Seat, Outcome], None]) -> None:
        self.hand = hand
        self.batches: deque[Sequence[Waiting]] = deque()  # it works on the first; none: it is idle
        self.began = 0.0  # when the turn of the first one came
        self.mean_s = _SLOW_S  # of its answers, the last ones above all; unknown: slow
        self.on_free: Callable[[], None] | None = None  # set: it gets nothing more
        self.answered: Callable[[Outcome], None] = partial(answered, self)

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
        self._direct = batch_size == 1  # whether a worker gets a request without the queue
        self._only: Seat | None = None  # the only worker, if it may be sent requests ahead
        self._staffed = True
        self._refusal: ServerError | None = None
        self._on_empty: Callable[[], None] | None = None
        self._over = False  # what comes back from a worker is refused too

    @property
    def queued(self) -> int:
        """Requests that wait."""
        return len(self._queue)

    # -- requests -----------------------------------------------------------------------------

    def submit(self, invocation: Invocation, done: Done, gone: Gone) -> None:
        """Takes a request. `done` gets its answer or refusal once, maybe before this returns."""
        now = self._clock()
        request: Waiting = _new(Waiting, (invocation, done, gone, now))
        if self._direct:
            if self._idle:
                self._hand_over(self._idle.pop(), (request,), (invocation,), now)
                return
            seat = self._only
            if seat is not None and not self._queue and self._takes_ahead(seat, request):
                self._hand_over(seat, (request,), (invocation,), now)
                return
        refusal = self._refusal or self._no_room()
        if refusal is not None:
            done(refusal)
            return
        self._queue.append(request)
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
        self._count()
        self._match()
        return seat

    def retire(self, seat: Seat, on_free: Callable[[], None]) -> None:
        """A worker that is to get nothing more; `on_free` is called when it has nothing to do."""
        seat.on_free = on_free
        self._count()
        if seat in self._idle:
            self._idle.remove(seat)
        if not seat.batches:
            seat.free()

    def leave(self, seat: Seat, how: WorkerDied) -> None:
        """A worker whose process has ended."""
        self._seats.discard(seat)
        self._count()
        if seat in self._idle:
            self._idle.remove(seat)
        while seat.batches:
            self._answered(seat, how)
        seat.free()
        self._settle()

    def is_busy(self, seat: Seat) -> bool:
        """Whether it works on something."""
        return bool(seat.batches)

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
        """Refuses what waits in the queue; after `close` also what would come back to it."""
        self._over = self._refusal is not None
        waiting, self._queue = self._queue, deque()
        for request in waiting:
            _tell(request.done, error)
        self._settle()

    # -- the decisions ------------------------------------------------------------------------

    def _takes_ahead(self, seat: Seat, request: Waiting) -> bool:
        """Whether the only worker gets a request before its turn."""
        return (
            0 < len(seat.batches) < _AHEAD_MAX
            and seat.mean_s < _BRISK_S
            and len(request.invocation.body) <= _AHEAD_BYTES_MAX
        )

    def _hand_over(
        self, seat: Seat, batch: Sequence[Waiting], asked: Sequence[Invocation], now: float
    ) -> None:
        """A seat that was idle is not among the idle any more; `asked`: the batch's invocations."""
        try:
            seat.hand.submit(asked, self._timeout_s, seat.answered)
        except ValueError as error:
            self._unsent(seat, batch, error)
            return
        batches = seat.batches
        if not batches:
            seat.began = now
        batches.append(batch)

    def _answered(self, seat: Seat, outcome: Outcome) -> None:
        batch = seat.batches.popleft()
        if isinstance(outcome, list):
            now = self._clock()
            took = now - seat.began
            seat.mean_s += _MEMORY * ((took if took < _SLOW_S else _SLOW_S) - seat.mean_s)
            seat.began = now
            if not seat.batches and seat.on_free is None:
                self._idle.append(seat)
            if self._queue:  # before the answers are written: the worker has waited enough
                self._match()
            if len(batch) == len(outcome) == 1:  # nearly every time; the loop costs more
                _tell(batch[0].done, outcome[0])
            else:
                for request, answer in zip(batch, outcome, strict=True):
                    _tell(request.done, answer)
            if seat.on_free is not None and not seat.batches:
                seat.free()
        else:
            self._lost(batch, outcome)
        if self._on_empty is not None:
            self._settle()

    def _lost(self, batch: Sequence[Waiting], how: WorkerDied) -> None:
        """The worker stays where it is, neither idle nor busy, until `leave`."""
        self._only = None
        if isinstance(how, NotBegun) and not self._over:
            self._come_back(batch)
            return
        error = Internal(f"Worker died: {str(how).removeprefix('the worker ended: ')}")
        for request in batch:
            _tell(request.done, self._refusal or error if isinstance(how, NotBegun) else error)

    def _come_back(self, batch: Sequence[Waiting]) -> None:
        """Requests that were sent ahead, to where they would be now."""
        at = bisect.bisect_right(self._queue, batch[0].since, key=lambda request: request.since)
        for request in reversed(batch):
            self._queue.insert(at, request)
        self._match()

    def _unsent(self, seat: Seat, batch: Sequence[Waiting], error: ValueError) -> None:
        if not seat.batches:
            self._idle.append(seat)
        for request in batch:
            _tell(request.done, BadRequest(f"The request cannot be sent to a worker: {error}"))

    def _match(self) -> None:
        """Hands out batches as long as one is due and a worker can have it."""
        while self._queue and (seat := self._next_seat()) is not None:
            if not self._is_due():
                self._wake_at(self._queue[0].since + self._delay_s)
                return
            if self._idle:
                self._idle.pop()  # first: who is told something may submit again
            batch = self._take()
            if batch:
                asked = [request.invocation for request in batch]
                self._hand_over(seat, batch, asked, self._clock())
            elif not seat.batches:
                self._idle.append(seat)

    def _next_seat(self) -> Seat | None:
        """Who gets the first of the queue; one of the idle is still among them."""
        if self._idle:
            return self._idle[-1]
        seat = self._only
        if seat is None or not self._direct or not self._takes_ahead(seat, self._queue[0]):
            return None
        return seat

    def _count(self) -> None:
        """Looks who is the only worker."""
        seat = next(iter(self._seats)) if len(self._seats) == 1 else None
        self._only = seat if seat is not None and seat.on_free is None else None

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
        if self._on_empty is None or self._queue or any(seat.batches for seat in self._seats):
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
