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
client goes away. Where the instance works on as many as it may, loaded models take `turns`. A model
that is called for and not in memory holds a *ticket*, numbered in the order in which waiting began,
and keeps it through every step and setback until it is loaded or given up. The oldest ticket goes
first, for the disk as for memory, and may have the room of everybody else: so it always advances,
and nothing starves. A victim that is called for again gets a new ticket, behind all who wait.
Models that fail again and again are in `quarantine`.

Memory and disk are promised before they are used: an order to fetch or load carries its
reservation, and all reservations together are within the budget whenever such an order is given.
"""

from __future__ import annotations

from typing import assert_never

from modelplex.core import estimates, events, invariants, moves, quarantine, room, succession
from modelplex.core.advance import advance
from modelplex.core.budget import Budget
from modelplex.core.events import Action, Cancel, Fact, OtherFact, Reason, Refusal, Reject
from modelplex.core.holdings import Holdings
from modelplex.core.limits import Limits
from modelplex.core.model import AT_REST, Model, Row, State
from modelplex.core.rules import Rule


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
        here.now = now
        if isinstance(fact, events.Invoked):  # `match` would cost as much as the rest
            _invoked(here, fact.request, fact.model, now)
        elif isinstance(fact, events.Answered | events.Abandoned):
            _let_go(here, fact, now)
        else:  # those above look by themselves whether somebody can advance
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
        moments += here.versions.retry_times()
        if (alarm := here.moves.next_alarm(here.groups)) is not None:
            moments.append(alarm)
        return max(now, min(moments)) if moments else None

    def snapshot(self) -> list[Row]:
        """Every model that is somewhere, or on its way, or in quarantine."""
        here = self.here
        return [
            model.row(here.memory.of(model.name), here.disk.of(model.name))
            for model in here.models.values()
            if model.state is not State.ABSENT or model.ticket is not None or model.quarantined
        ]

    def check(self) -> None:
        """Assert what must hold between any two facts."""
        invariants.check(self.here)


def _note(here: Holdings, fact: OtherFact, now: float) -> None:  # noqa: PLR0912 - one case a fact
    match fact:
        case events.Wanted(name):
            _wanted(here, here.model(here.versions.serving(name)))
        case events.Configured(rules):
            _configured(here, rules)
        case events.Changed(name, version):
            succession.changed(here, name, version)
        case events.RolledBack(name, version):
            succession.rolled_back(here, name, version)
        case events.Recovered(name, size, content, version, alone):
            moves.brought(here, name, alone=alone)
            succession.recovered(here, name, version)
            _recovered(here, here.model(name), size, content)
        case events.Fetched(name, version=version, alone=alone):
            moves.brought(here, name, alone=alone)
            failure = succession.fetched(here, here.models[name], version)
            _fetched(here, here.models[name], fact, failure, now)
        case events.FetchOverran(name, needed):
            _fetch_overran(here, here.models[name], needed, now)
        case events.FetchFailed(name, failure, passing):
            if not passing:
                succession.discard(here, here.models[name], failure)
            _work_failed(here, here.models[name], State.FETCHING, failure, now, passing=passing)
        case events.Dropped(name):
            moves.brought(here, name, alone=False)
            _dropped(here, here.models[name])
        case events.Loaded(name, size):
            _loaded(here, here.models[name], size, now)
        case events.OutOfMemory(name):
            _out_of_memory(here, here.models[name], now)
        case events.LoadFailed(name, failure):
            _work_failed(here, here.models[name], State.LOADING, failure, now)
        case events.Moved(name, size):
            moves.moved(here, here.models[name], size, now)
        case events.MoveFailed(name, _):
            moves.failed(here, name, now)
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
    requests, limits = here.requests, here.limits
    new = request not in requests.forwarded and request not in requests.waiting
    assert new, f"request {request} came twice"
    model = here.models.get(name)
    if model is None or here.versions.tracks:
        model = succession.resolve(here, name)
    ready = model.state is State.LOADED and model.pause is None
    if ready and here.takes(model) and len(requests.forwarded) < limits.answers_max:
        model.usage.used(now, limits.usage_half_life_s)
        here.forward(request, model, now)
    elif (refusal := _refusal(here, model, now)) is not None:
        here.orders.append(Reject(request, *refusal))
        here.tidy(model)
    else:
        model.usage.used(now, limits.usage_half_life_s)
        _let_wait(here, request, model, now)


def _refusal(here: Holdings, model: Model, now: float) -> tuple[Refusal, object, float] | None:
    """Why a request is refused at once, with what the shell said of it, and when to come back."""
    if model.pause is not None and model.is_refused(now):
        return model.pause.refusal, model.pause.failure, estimates.until_tried_s(here, model, now)
    if len(here.requests.waiting) >= here.limits.queue_max:
        return Refusal.QUEUE_FULL, None, estimates.until_calm_s(here)
    if len(model.queue) >= (model.rule.queue_max or here.limits.queue_per_model_max):
        return Refusal.QUEUE_FULL, None, estimates.until_room_s(here, model, now)
    return None


def _let_wait(here: Holdings, request: int, model: Model, now: float) -> None:
    here.requests.enqueue(request, model, now)
    if model.state is State.LOADED:
        here.forward_queued(model, now)
        return
    here.requests.await_load(request, now)
    if here.call_for(model):
        advance(here, now)


def _let_go(here: Holdings, fact: events.Answered | events.Abandoned, now: float) -> None:
    if isinstance(fact, events.Answered):
        if here.groups is not None:
            moves.ended(here, fact.request, now)
        _answered(here, fact.request, now)
    else:
        _abandoned(here, fact.request, now)
    if here.groups is not None:
        moves.proceed(here, now)


def _answered(here: Holdings, request: int, now: float) -> None:
    model = here.requests.forwarded.pop(request)
    began = model.in_flight.pop(request, None)
    if began is not None:  # else its worker had crashed, and the model has moved on
        model.pause = None
        model.usage.handled(now - began)
        here.past.handled(now - began)
        if model.state is State.DRAINING:
            here.unload_if_drained(model)
        else:
            if model.queue:
                here.forward_queued(model, now)
            if here.retry_at is not None or not here.limits.cache_enabled:
                _rest(here, model, now)
    if here.turns.order:
        here.take_turns(now)


def _rest(here: Holdings, model: Model, now: float) -> None:
    """A loaded model has less to do, perhaps nothing."""
    if not model.idle:
        return
    if not here.limits.cache_enabled and not model.pinned:
        here.drain(model, Reason.UNCACHED, None, now)
    elif here.retry_at is not None and model.turn_ends > now:
        advance(here, now)  # somebody waits for a victim, and this is one now


def _abandoned(here: Holdings, request: int, now: float) -> None:
    if request not in here.requests.waiting:
        return
    model = here.requests.leave(request)
    if model.state in AT_REST and not model.called_for:
        here.leave_line(model)
        here.settle(model)
        advance(here, now)
    elif model.state is State.LOADED and not model.queue:
        here.turns.leave(model)
        moves.quit_line(here, model)
        _rest(here, model, now)


def _expire(here: Holdings, now: float) -> None:
    for request in here.requests.overdue(now):
        model = here.requests.leave(request)
        model.promised = True  # it was told to come back
        retry_after_s = estimates.until_ready_s(here, model, now)
        here.orders.append(Reject(request, Refusal.NOT_READY, None, retry_after_s))
    for model in here.at_work():
        if model.work_ends <= now and not model.cancelled:
            _cancel(here, model, now)


def _cancel(here: Holdings, model: Model, now: float) -> None:
    model.cancelled = True
    here.orders.append(Cancel(model.name))
    limit_s = here.limits.model_load_timeout_s
    sentence = f"it was not loaded within {limit_s:g} seconds"
    here.fail(model, sentence, now, passing=model.state is State.FETCHING)


# -- models ---------------------------------------------------------------------------------------


def _wanted(here: Holdings, model: Model) -> None:
    model.wanted = True
    here.pin(model)
    if model.state is not State.LOADED:
        here.promise(model)


def _configured(here: Holdings, rules: tuple[Rule, ...]) -> None:
    """Rules for names as they are also reach models that nobody has asked for yet."""
    here.configure(rules)
    for rule in rules:
        if rule.pinned and rule.is_name and here.versions.serving(rule.pattern) not in here.models:
            here.promise(succession.resolve(here, rule.pattern))


def _recovered(here: Holdings, model: Model, size: int, content: str) -> None:
    here.rest_on_disk(model, size, content)


def _fetched(
    here: Holdings, model: Model, fact: events.Fetched, rejected: object, now: float
) -> None:
    here.stop_work(model, State.FETCHING, now)
    model.usage.fetched(now - model.work_since)
    here.past.fetched(now - model.work_since)
    if rejected is not None:
        here.fail(model, rejected, now, passing=True)
    here.rest_on_disk(model, fact.disk_bytes, fact.content)


def _fetch_overran(here: Holdings, model: Model, needed: int, now: float) -> None:
    counts = here.stop_work(model, State.FETCHING, now)
    limit = here.disk.of(model.name)
    ceiling = room.ceiling_bytes(here, here.disk, model)
    model.least_disk_bytes = max(needed, min(2 * limit, ceiling))
    here.back_to_rest(model)
    if limit >= ceiling and counts:
        here.refuse_too_large(model, now)
    here.settle(model)


def _work_failed(
    here: Holdings,
    model: Model,
    state: State,
    failure: object,
    now: float,
    *,
    passing: bool = False,
) -> None:
    counts = here.stop_work(model, state, now)
    here.back_to_rest(model)
    if counts:
        here.fail(model, failure, now, passing=passing)
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
    model.usage.loaded(now - model.work_since)
    here.past.loaded(now - model.work_since)
    first = moves.loaded(here, model, size, now)
    if not first or not here.footprints.count:  # the first of a shared worker brings its process
        here.footprints.loaded(model.known_disk_bytes, size)
    here.move(model, State.LOADED)
    model.end_journey()
    model.pause = quarantine.loaded(model.pause, now)
    model.loads += 1
    here.keep_place(model, now)
    _measured(here, model.name, size)
    here.requests.loaded(model)
    succession.loaded(here, model)
    here.forward_queued(model, now)


def _measured(here: Holdings, name: str, size: int) -> None:
    model = here.models.get(name)
    if model is not None and model.state in (State.LOADED, State.DRAINING):
        here.memory.reserve(name, size)
        model.known_memory_bytes = size
        if model.state is State.LOADED:
            here.memory_ranking.touch(model)


def _unloaded(here: Holdings, model: Model) -> None:
    assert model.state is State.UNLOADING, f"{model.name} is {model.state.value}"
    here.leave_memory(model)


def _crashed(here: Holdings, model: Model, failure: object, now: float) -> None:
    if model.state is State.LOADING:
        if moves.crashed(here, model, now):
            _work_failed(here, model, State.LOADING, failure, now)
        else:
            here.stop_work(model, State.LOADING, now)
            here.back_to_rest(model)
            here.settle(model)
    elif model.state in (State.LOADED, State.DRAINING):  # else it is on its way out already
        if moves.crashed(here, model, now):  # else a neighbour did it
            model.pause = quarantine.failed(model.pause, failure, True, now, here.limits)
        if model.state is State.LOADED:
            # A pinned model comes back unasked, unless it has done nothing since its load: it
            # might then load and crash for ever.
            model.promised = model.pinned and model.worked
            here.requests.await_reload(model, now)
        if model.pause is not None and model.pause.quarantines:
            retry_after_s = model.pause.until - now
            here.refuse(model, Refusal.QUARANTINED, failure, retry_after_s)
        here.leave_memory(model)


def _dropped(here: Holdings, model: Model) -> None:
    here.disk.release(model.name)
    here.move(model, State.ABSENT)
    succession.dropped(here, model)
    here.settle(model)
