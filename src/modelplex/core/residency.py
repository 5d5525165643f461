"""Which models live on this instance, who waits for them, and what to do next.

`Residency.handle` takes one fact and returns the orders it calls for. It does no I/O, reads no
clock and rolls no dice: the instance and the tests run this same file. One model's life:

    ABSENT ──Fetch──▶ FETCHING ──Fetched──▶ ON_DISK ──Load──▶ LOADING ──Loaded──▶ LOADED
     ▲  ▲                │                 ▲ │ ▲  ▲              │                 │  │
     │  └─failed, overran┘                 │ │ │  └─failed, out of memory           │  │ a victim
     │                                     │ │ └───────────────Crashed─────────────┘  ▼
     └───Dropped─── DROPPING ◀────Drop─────│─┘                                     DRAINING
                                           └──Unloaded── UNLOADING ◀────Unload────────┘

A request waits in its model's queue, is forwarded, and is answered; or it is rejected; or its
client goes away. A model that is called for and not in memory holds a *ticket*, numbered in the
order in which waiting began, and keeps it through every step and setback until it is loaded or
given up. The oldest ticket goes first, for the disk as for memory, and may have the room of
everybody else: so it always advances, and nothing starves. A victim that is called for again gets
a new ticket, behind all who wait.

Memory and disk are promised before they are used: an order to fetch or load carries its
reservation, and all reservations together are within the budget whenever such an order is given.
"""

from __future__ import annotations

from typing import assert_never

from modelplex.core import invariants, room
from modelplex.core.advance import advance
from modelplex.core.budget import Budget
from modelplex.core.events import (
    Abandoned,
    Action,
    Answered,
    Cancel,
    Crashed,
    Dropped,
    Fact,
    Fetched,
    FetchFailed,
    FetchOverran,
    Invoked,
    Loaded,
    LoadFailed,
    Measured,
    OutOfMemory,
    Reason,
    Recovered,
    Refusal,
    Reject,
    Tick,
    Unloaded,
    Wanted,
)
from modelplex.core.holdings import Holdings
from modelplex.core.limits import Limits
from modelplex.core.model import AT_REST, Model, Row, State

REQUEST_FACTS = (Invoked, Answered, Abandoned)  # these look by themselves whether room can change


class Residency:
    """The models of one instance. Its owner hands it facts and carries out its orders."""

    def __init__(self, limits: Limits) -> None:
        self.here = Holdings(limits)

    def __repr__(self) -> str:
        here = self.here
        forwarded, waiting = len(here.requests.forwarded), len(here.requests.waiting)
        return (
            f"<Residency {len(here.models)} models: {len(here.loaded)} loaded, "
            f"{len(here.loading)} loading | {forwarded} in flight, {waiting} waiting>"
        )

    @property
    def memory(self) -> Budget:
        """What is promised of the memory, and to whom. To be read only."""
        return self.here.memory

    @property
    def disk(self) -> Budget:
        """What is promised of the disk, and to whom. To be read only."""
        return self.here.disk

    def handle(self, fact: Fact, now: float) -> list[Action]:  # noqa: PLR0912 - one case a fact
        """Take note of a fact and return what to do about it, in this order.

        `now` never goes back. A fact that cannot be true (a model has loaded that was not loading)
        is an AssertionError or KeyError: the shell is wrong about something, so any order would be.
        """
        match fact:
            case Invoked(request, name):
                self._invoked(request, name, now)
            case Answered(request):
                self._answered(request, now)
            case Abandoned(request):
                self._abandoned(request, now)
            case Wanted(name):
                self._wanted(self.here.model(name))
            case Recovered(name, size):
                self._recovered(self.here.model(name), size)
            case Fetched(name, size):
                self._fetched(self.here.models[name], size, now)
            case FetchOverran(name, needed):
                self._fetch_overran(self.here.models[name], needed, now)
            case FetchFailed(name, failure):
                self._work_failed(self.here.models[name], State.FETCHING, failure, now)
            case Loaded(name, size):
                self._loaded(self.here.models[name], size, now)
            case OutOfMemory(name):
                self._out_of_memory(self.here.models[name], now)
            case LoadFailed(name, failure):
                self._work_failed(self.here.models[name], State.LOADING, failure, now)
            case Measured(name, size):
                self._measured(name, size)
            case Crashed(name, failure):
                self._crashed(self.here.models[name], failure, now)
            case Unloaded(name):
                self._unloaded(self.here.models[name])
            case Dropped(name):
                self._dropped(self.here.models[name])
            case Tick():
                self._expire(now)
            case _:
                assert_never(fact)
        if not isinstance(fact, REQUEST_FACTS):
            advance(self.here, now)
        orders, self.here.orders = self.here.orders, []
        return orders

    def next_deadline(self, now: float) -> float | None:
        """When to hand in a `Tick`, if nothing else comes before; None: nothing is timed."""
        moments = [model.work_ends for model in self.here.at_work() if not model.cancelled]
        if self.here.requests.deadlines:
            moments.append(self.here.requests.first_deadline)
        if self.here.retry_at is not None:
            moments.append(self.here.retry_at)
        return max(now, min(moments)) if moments else None

    def snapshot(self) -> list[Row]:
        """Every model that is somewhere, or on its way."""
        return [
            model.row(self.here.memory.of(model.name), self.here.disk.of(model.name))
            for model in self.here.models.values()
            if model.state is not State.ABSENT or model.ticket is not None
        ]

    def check(self) -> None:
        """Assert what must hold between any two facts."""
        invariants.check(self.here)

    # -- requests ---------------------------------------------------------------------------------

    def _invoked(self, request: int, name: str, now: float) -> None:
        assert request not in self.here.requests, f"request {request} came twice"
        if len(self.here.requests.waiting) >= self.here.limits.queue_max:
            self.here.orders.append(Reject(request, Refusal.QUEUE_FULL))
            return
        model = self.here.model(name)
        if model.state is State.LOADED and len(model.in_flight) < self.here.limits.concurrency:
            self.here.forward(request, model, now)
        elif len(model.queue) >= self.here.limits.queue_per_model_max:
            self.here.orders.append(Reject(request, Refusal.QUEUE_FULL))
        else:
            self.here.requests.enqueue(request, model)
            if model.state is not State.LOADED:
                self.here.requests.await_load(request, now)
                if self.here.call_for(model):
                    advance(self.here, now)

    def _answered(self, request: int, now: float) -> None:
        model = self.here.requests.forwarded.pop(request)
        if request not in model.in_flight:
            return  # its worker had crashed, and the model has moved on
        model.in_flight.remove(request)
        if model.state is State.DRAINING:
            self.here.unload_if_drained(model)
            return
        self.here.forward_queued(model, now)
        if model.idle and not self.here.limits.cache_enabled and not model.pinned:
            self.here.drain(model, Reason.UNCACHED, None, now)
        elif model.idle and self.here.retry_at is not None:
            advance(self.here, now)  # somebody waits for a victim, and here is one

    def _abandoned(self, request: int, now: float) -> None:
        if request not in self.here.requests.waiting:
            return
        model = self.here.requests.leave(request)
        if model.state in AT_REST and not model.called_for:
            self.here.leave_line(model)
            self.here.settle(model)
            advance(self.here, now)

    def _expire(self, now: float) -> None:
        for request in self.here.requests.overdue(now):
            self.here.requests.leave(request).promised = True  # it was told to come back
            self.here.orders.append(Reject(request, Refusal.NOT_READY))
        for model in self.here.at_work():
            if model.work_ends <= now and not model.cancelled:
                self._cancel(model)

    def _cancel(self, model: Model) -> None:
        model.cancelled = True
        self.here.orders.append(Cancel(model.name))
        limit_s = self.here.limits.model_load_timeout_s
        self.here.refuse(model, Refusal.FAILED, f"it was not loaded within {limit_s:g} seconds")

    # -- models -----------------------------------------------------------------------------------

    def _wanted(self, model: Model) -> None:
        model.pinned = True
        self.here.pinned[model.name] = model
        if model.state is not State.LOADED:
            model.promised = True
            self.here.call_for(model)

    def _recovered(self, model: Model, size: int) -> None:
        assert model.ticket is None, f"{model.name} was asked for before it was recovered"
        self.here.rest_on_disk(model, size)

    def _fetched(self, model: Model, size: int, now: float) -> None:
        self.here.stop_work(model, State.FETCHING, now)
        self.here.rest_on_disk(model, size)

    def _fetch_overran(self, model: Model, needed: int, now: float) -> None:
        counts = self.here.stop_work(model, State.FETCHING, now)
        limit = self.here.disk.of(model.name)
        ceiling = room.ceiling_bytes(self.here, self.here.disk, model)
        model.least_disk_bytes = max(needed, min(2 * limit, ceiling))
        self.here.back_to_rest(model)
        if limit >= ceiling and counts:
            self.here.refuse_too_large(model)
        self.here.settle(model)

    def _work_failed(self, model: Model, state: State, failure: object, now: float) -> None:
        counts = self.here.stop_work(model, state, now)
        self.here.back_to_rest(model)
        if counts:
            self.here.refuse(model, Refusal.FAILED, failure)
        self.here.settle(model)

    def _out_of_memory(self, model: Model, now: float) -> None:
        counts = self.here.stop_work(model, State.LOADING, now)
        limit = self.here.memory.of(model.name)
        ceiling = room.ceiling_bytes(self.here, self.here.memory, model)
        model.least_memory_bytes = min(2 * limit, ceiling)
        self.here.back_to_rest(model)
        if limit >= ceiling and counts:
            model.least_memory_bytes = 0  # the next request starts with the usual again
            self.here.refuse(model, Refusal.OUT_OF_MEMORY, f"it needs more than {limit} bytes")
        self.here.settle(model)

    def _loaded(self, model: Model, size: int, now: float) -> None:
        self.here.stop_work(model, State.LOADING, now)
        self.here.footprints.loaded(model.known_disk_bytes, size)
        model.enter(State.LOADED)
        model.end_journey()
        model.loads += 1
        model.loaded_at = now
        model.turn_ends = now + min(now - model.work_since, self.here.limits.turn_max_s)
        self.here.loaded[model.name] = model
        self._measured(model.name, size)
        self.here.requests.loaded(model)
        self.here.forward_queued(model, now)

    def _measured(self, name: str, size: int) -> None:
        model = self.here.models.get(name)
        if model is not None and model.state in (State.LOADED, State.DRAINING):
            self.here.memory.reserve(name, size)
            model.known_memory_bytes = size

    def _unloaded(self, model: Model) -> None:
        assert model.state is State.UNLOADING, f"{model.name} is {model.state.value}"
        self.here.leave_memory(model)

    def _crashed(self, model: Model, failure: object, now: float) -> None:
        match model.state:
            case State.LOADING:
                self._work_failed(model, State.LOADING, failure, now)
            case State.LOADED:
                del self.here.loaded[model.name]
                # A pinned model comes back unasked, unless it has done nothing since its load: it
                # might then load and crash for ever.
                model.promised = model.pinned and model.worked
                self.here.requests.await_reload(model, now)
                model.in_flight.clear()
                self.here.leave_memory(model)
            case State.DRAINING:
                model.in_flight.clear()
                self.here.leave_memory(model)
            case _:
                pass  # it was on its way out already, which another fact says

    def _dropped(self, model: Model) -> None:
        self.here.disk.release(model.name)
        model.enter(State.ABSENT)
        self.here.settle(model)
