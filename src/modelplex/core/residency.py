"""Which models live on this instance, who waits for them, and what to do next.

`Residency.handle` takes one fact and returns the orders it calls for. It does no I/O, reads no
clock and rolls no dice: instances, simulated ones and tests run this same code. One model's life:

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
and nothing starves. Who leaves for it, the `policies` say. A victim that is called for again gets a
new ticket, behind all who wait. A model that fails again and again is in `quarantine`.

Every version of a model has a life of its own: another one is brought beside the one that serves,
and takes the name over when it is loaded (`versions/`). A loaded model that shares its worker with
others (`sharing/`) may move to another one, by a second load beside the first; its state stays
LOADED.

Memory and disk are promised before they are used: an order to fetch or load carries its
reservation, and all reservations together are within the budget whenever such an order is given.

What a fact leads to is in `facts/`, who takes the next step in `advance`, the steps and the books
that they keep in `holdings`, what must always hold in `invariants`.
"""

from __future__ import annotations

from typing import assert_never

from modelplex.core import events, failures, invariants
from modelplex.core.advance import advance
from modelplex.core.budget import Budget
from modelplex.core.events import Action, Fact, OtherFact
from modelplex.core.facts import artifacts, owner, requests, workers
from modelplex.core.holdings import Holdings
from modelplex.core.limits import Limits
from modelplex.core.model import Row, State
from modelplex.core.sharing import moves
from modelplex.core.versions import succession


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
            requests.invoked(here, fact.request, fact.model, now)
        elif isinstance(fact, events.Answered | events.Abandoned):
            requests.let_go(here, fact, now)
        else:  # those above look by themselves whether somebody can advance
            _note(here, fact, now)
            advance(here, now)
        orders, here.orders = here.orders, []
        return orders

    def next_deadline(self, now: float) -> float | None:
        """When to hand in a `Tick`, if nothing else comes before; None: nothing is timed."""
        here = self.here
        if here.calm:
            return None
        moments = [here.requests.look_at, here.retry_at]
        if here.fetching or here.loading:
            moments += [model.work_ends for model in here.at_work() if not model.cancelled]
        if here.requests.deadlines:
            moments.append(here.requests.first_deadline)
        if here.versions.waiting:
            moments += here.versions.retry_times()
        if here.groups is not None:
            moments.append(here.moves.next_alarm(here.groups))
        first = min([moment for moment in moments if moment is not None], default=None)
        return None if first is None else max(now, first)

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
            owner.wanted(here, name)
        case events.Configured(rules):
            owner.configured(here, rules)
        case events.Changed(name, version):
            succession.changed(here, name, version)
        case events.RolledBack(name, version):
            succession.rolled_back(here, name, version)
        case events.Recovered():
            artifacts.recovered(here, fact)
        case events.Fetched():
            artifacts.fetched(here, fact, now)
        case events.FetchOverran():
            artifacts.fetch_overran(here, fact, now)
        case events.FetchFailed():
            artifacts.fetch_failed(here, fact, now)
        case events.Dropped():
            artifacts.dropped(here, fact)
        case events.Loaded():
            workers.loaded(here, fact, now)
        case events.OutOfMemory():
            workers.out_of_memory(here, fact, now)
        case events.LoadFailed(name, failure):
            failures.work_failed(here, here.models[name], State.LOADING, failure, now)
        case events.Moved():
            workers.moved(here, fact, now)
        case events.MoveFailed(name, _):
            moves.failed(here, name, now)
        case events.Measured(name, size):
            workers.measured(here, name, size)
        case events.Crashed():
            workers.crashed(here, fact, now)
        case events.Unloaded(name):
            workers.unloaded(here, name)
        case events.Resized(size):
            here.memory.capacity_bytes = size
        case events.Tick():
            requests.expire(here, now)
        case _:
            assert_never(fact)
