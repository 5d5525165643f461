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

from modelplex.core import events, invariants, room
from modelplex.core.advance import advance
from modelplex.core.budget import Budget
from modelplex.core.events import Action, Cancel, Fact, OtherFact, Reason, Refusal, Reject
from modelplex.core.holdings import Holdings
from modelplex.core.limits import Limits
from modelplex.core.model import AT_REST, Model, Row, State


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

    def handle(self, fact: Fact, now: float) -> list[Action]:
        """Take note of a fact and return what to do about it, in this order.

        `now` never goes back. A fact that cannot be true (a model has loaded that was not loading)
        is an AssertionError or KeyError: the shell is wrong about something, so any order would be.
        """
        here = self.here
        match fact:
            case events.Invoked(request, name):
                _invoked(here, request, name, now)
            case events.Answered(request):
                _answered(here, request, now)
            case events.Abandoned(request):
                _abandoned(here, request, now)
            case _:  # those above look by themselves whether somebody can advance
                _note(here, fact, now)
                advance(here, now)
        orders, here.orders = here.orders, []
        return orders

    def next_deadline(self, now: float) -> float | None:
        """When to hand in a `Tick`, if nothing else comes before; None: nothing is timed."""
        here = self.here
        moments = [model.work_ends for model in here.at_work() if not model.cancelled]
        if here.requests.deadlines:
            moments.append(here.requests.first_deadline)
        if here.retry_at is not None:
            moments.append(here.retry_at)
        return max(now, min(moments)) if moments else None

    def snapshot(self) -> list[Row]:
        """Every model that is somewhere, or on its way."""
        here = self.here
        return [
            model.row(here.memory.of(model.name), here.disk.of(model.name))
            for model in here.models.values()
            if model.state is not State.ABSENT or model.ticket is not None
        ]

    def check(self) -> None:
        """Assert what must hold between any two facts."""
        invariants.check(self.here)


def _note(here: Holdings, fact: OtherFact, now: float) -> None:  # noqa: PLR0912 - one case a fact
    match fact:
        case events.Wanted(name):
            _wanted(here, here.model(name))
        case events.Recovered(name, size):
            _recovered(here, here.model(name), size)
        case events.Fetched(name, size):
            _fetched(here, here.models[name], size, now)
        case events.FetchOverran(name, needed):
            _fetch_overran(here, here.models[name], needed, now)
        case events.FetchFailed(name, failure):
            _work_failed(here, here.models[name], State.FETCHING, failure, now)
        case events.Dropped(name):
            _dropped(here, here.models[name])
        case events.Loaded(name, size):
            _loaded(here, here.models[name], size, now)
        case events.OutOfMemory(name):
            _out_of_memory(here, here.models[name], now)
        case events.LoadFailed(name, failure):
            _work_failed(here, here.models[name], State.LOADING, failure, now)
        case events.Measured(name, size):
            _measured(here, name, size)
        case events.Crashed(name, failure):
            _crashed(here, here.models[name], failure, now)
        case events.Unloaded(name):
            _unloaded(here, here.models[name])
        case events.Resized(size):
            here.memory.capacity_bytes = size
        case events.Tick():
            _expire(here, now)
        case _:
            assert_never(fact)


# -- requests -------------------------------------------------------------------------------------


def _invoked(here: Holdings, request: int, name: str, now: float) -> None:
    assert request not in here.requests, f"request {request} came twice"
    if len(here.requests.waiting) >= here.limits.queue_max:
        here.orders.append(Reject(request, Refusal.QUEUE_FULL))
        return
    model = here.model(name)
    if model.state is State.LOADED and len(model.in_flight) < here.limits.concurrency:
        here.forward(request, model, now)
    elif model.ticket is None and now < model.refused_until:
        here.orders.append(Reject(request, *model.refused_with))
    elif len(model.queue) >= here.limits.queue_per_model_max:
        here.orders.append(Reject(request, Refusal.QUEUE_FULL))
    else:
        here.requests.enqueue(request, model)
        if model.state is not State.LOADED:
            here.requests.await_load(request, now)
            if here.call_for(model):
                advance(here, now)


def _answered(here: Holdings, request: int, now: float) -> None:
    model = here.requests.forwarded.pop(request)
    if request not in model.in_flight:
        return  # its worker had crashed, and the model has moved on
    model.in_flight.remove(request)
    if model.state is State.DRAINING:
        here.unload_if_drained(model)
        return
    here.forward_queued(model, now)
    if model.idle and not here.limits.cache_enabled and not model.pinned:
        here.drain(model, Reason.UNCACHED, None, now)
    elif model.idle and here.retry_at is not None:
        advance(here, now)  # somebody waits for a victim, and here is one


def _abandoned(here: Holdings, request: int, now: float) -> None:
    if request not in here.requests.waiting:
        return
    model = here.requests.leave(request)
    if model.state in AT_REST and not model.called_for:
        here.leave_line(model)
        here.settle(model)
        advance(here, now)


def _expire(here: Holdings, now: float) -> None:
    for request in here.requests.overdue(now):
        here.requests.leave(request).promised = True  # it was told to come back
        here.orders.append(Reject(request, Refusal.NOT_READY))
    for model in here.at_work():
        if model.work_ends <= now and not model.cancelled:
            _cancel(here, model, now)


def _cancel(here: Holdings, model: Model, now: float) -> None:
    model.cancelled = True
    here.orders.append(Cancel(model.name))
    limit_s = here.limits.model_load_timeout_s
    here.fail(model, f"it was not loaded within {limit_s:g} seconds", now)


# -- models ---------------------------------------------------------------------------------------


def _wanted(here: Holdings, model: Model) -> None:
    model.pinned = True
    here.pinned[model.name] = model
    if model.state is not State.LOADED:
        model.promised = True
        here.call_for(model)


def _recovered(here: Holdings, model: Model, size: int) -> None:
    assert model.ticket is None, f"{model.name} was asked for before it was recovered"
    here.rest_on_disk(model, size)


def _fetched(here: Holdings, model: Model, size: int, now: float) -> None:
    here.stop_work(model, State.FETCHING, now)
    here.rest_on_disk(model, size)


def _fetch_overran(here: Holdings, model: Model, needed: int, now: float) -> None:
    counts = here.stop_work(model, State.FETCHING, now)
    limit = here.disk.of(model.name)
    ceiling = room.ceiling_bytes(here, here.disk, model)
    model.least_disk_bytes = max(needed, min(2 * limit, ceiling))
    here.back_to_rest(model)
    if limit >= ceiling and counts:
        here.refuse_too_large(model, now)
    here.settle(model)


def _work_failed(here: Holdings, model: Model, state: State, failure: object, now: float) -> None:
    counts = here.stop_work(model, state, now)
    here.back_to_rest(model)
    if counts:
        here.fail(model, failure, now)
    here.settle(model)


def _out_of_memory(here: Holdings, model: Model, now: float) -> None:
    counts = here.stop_work(model, State.LOADING, now)
    limit = here.memory.of(model.name)
    ceiling = room.ceiling_bytes(here, here.memory, model)
    model.least_memory_bytes = min(2 * limit, ceiling)
    here.back_to_rest(model)
    if limit >= ceiling and counts:
        model.least_memory_bytes = 0  # the next try starts with the usual again
        sentence = f"it needs more than {limit} bytes"
        here.refuse_for_a_while(model, Refusal.OUT_OF_MEMORY, sentence, now)
    here.settle(model)


def _loaded(here: Holdings, model: Model, size: int, now: float) -> None:
    here.stop_work(model, State.LOADING, now)
    here.footprints.loaded(model.known_disk_bytes, size)
    here.move(model, State.LOADED)
    model.end_journey()
    model.refused_until = 0.0
    model.loads += 1
    model.loaded_at = now
    model.turn_ends = now + min(now - model.work_since, here.limits.turn_max_s)
    _measured(here, model.name, size)
    here.requests.loaded(model)
    here.forward_queued(model, now)


def _measured(here: Holdings, name: str, size: int) -> None:
    model = here.models.get(name)
    if model is not None and model.state in (State.LOADED, State.DRAINING):
        here.memory.reserve(name, size)
        model.known_memory_bytes = size


def _unloaded(here: Holdings, model: Model) -> None:
    assert model.state is State.UNLOADING, f"{model.name} is {model.state.value}"
    here.leave_memory(model)


def _crashed(here: Holdings, model: Model, failure: object, now: float) -> None:
    if model.state is State.LOADING:
        _work_failed(here, model, State.LOADING, failure, now)
    elif model.state in (State.LOADED, State.DRAINING):  # else it is on its way out already
        if model.state is State.LOADED:
            # A pinned model comes back unasked, unless it has done nothing since its load: it
            # might then load and crash for ever.
            model.promised = model.pinned and model.worked
            here.requests.await_reload(model, now)
        model.in_flight.clear()
        here.leave_memory(model)


def _dropped(here: Holdings, model: Model) -> None:
    here.disk.release(model.name)
    here.move(model, State.ABSENT)
    here.settle(model)
