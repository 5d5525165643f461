"""A simulated variant: gateways, instances, and the requests that come to it.

The decisions are those of the platform, by the same code: `core.placement` chooses the instance,
`core.residency` does everything there. Only what carries decisions out is invented. Nothing is left
to chance but what follows from the seed: the same world comes to the same end, to the last digit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from modelplex.core import events
from modelplex.core.events import Action, Fact
from modelplex.core.keys import key_of
from modelplex.core.residency import Residency
from modelplex.core.routing.placement import PlacementLimits
from modelplex.core.routing.whereabouts import Site
from modelplex.sim.clock import Clock
from modelplex.sim.failures import Death, Failure, SlowStore, Update
from modelplex.sim.gateways import Gateways
from modelplex.sim.machine import Machine
from modelplex.sim.parts import Call, Make, Task
from modelplex.sim.statistics import Report, Statistics
from modelplex.sim.traffic import Arrival
from modelplex.sim.truth import Population

AGAIN_S = 0.25  # until a request that no instance takes is tried again
PATIENCE_S = 10.0  # as the gateway's: how long it is tried


@dataclass(frozen=True, slots=True)
class Fleet:
    """So many instances of one make."""

    make: Make
    count: int = 1
    placement: PlacementLimits = PlacementLimits()  # noqa: RUF009 - frozen


class World:
    """Runs once, from the first arrival until every request has come to its end."""

    def __init__(
        self,
        models: Population,
        arrivals: Iterator[Arrival],
        fleet: Fleet,
        *,
        seed: int = 0,
        failures: Sequence[Failure] = (),
        crash_chance: float = 0.1,
        warmup_s: float = 0.0,
        window_s: float = 60.0,
        prepare: Callable[[Residency], None] | None = None,
    ) -> None:
        """`crash_chance` is a crashing model's, at each request; `prepare` gets every new residency
        before its first fact, to give it a policy of one's own.
        """
        self.clock = Clock()
        self.statistics = Statistics(warmup_s)
        self.machines: list[Machine] = []
        self.gateways = Gateways(fleet.placement, seed)
        self._models = models
        self._arrivals = arrivals
        self._fleet = fleet
        self._failures = failures
        self._draw = Random(f"{seed} crashes").random
        self._crash_chance = crash_chance
        self._window_s = window_s
        self._prepare = prepare
        self._requests = 0
        self._ended = 0  # of them
        self._more = True  # whether arrivals are left
        self._slowness = 1.0
        self._by_id: dict[str, Machine] = {}
        for number in range(fleet.count):
            self.machines.append(self._machine(f"i{number}"))
        self._announce()
        for failure in failures:
            self.clock.at(failure.at_s, self._fail, failure)

    def run(self) -> Report:
        """Play it, and tell what became of it."""
        clock, heap = self.clock, self.clock.heap
        self._begin_window(None, 0.0)
        last = 0.0
        for now, index in self._arrivals:
            while heap and heap[0][0] < now:
                clock.step()
            clock.now = last = now
            self._arrive(index, now)
        self._more = False
        while self._ended < self._requests:
            clock.step()
        self._end_window()
        return self.statistics.report(last)

    # -- requests ---------------------------------------------------------------------------------

    def _arrive(self, index: int, now: float) -> None:
        self._requests += 1
        name, gateway = self._models.name(index), self.gateways.draw()
        self._deliver(Call(self._requests, index, name, now, gateway=gateway), now)

    def _deliver(self, call: Call, now: float) -> None:
        """To the first instance in order that can be reached."""
        for id in self.gateways.choose(call, now):
            machine = self._by_id[id]
            if not machine.dead:
                self.gateways.sent(call, id, now)
                machine.invoke(call, now)
                return
        if now > call.arrived + PATIENCE_S:
            self._end(call, "unreachable")
        else:
            self.clock.at(now + AGAIN_S, self._deliver, call)

    def answered(self, machine: Machine, call: Call, now: float, failed: bool) -> None:
        """A handler has answered, or its worker has died over it."""
        handle_s = now - call.begun
        self.gateways.answered(call, machine.id, now, call.start, handle_s)
        if failed:
            self._end(call, "failed")
            return
        self._ended += 1
        self.statistics.served(
            call.index, call.start, call.arrived, call.begun - call.arrived, now - call.arrived
        )

    def refused(self, machine: Machine, call: Call, order: events.Reject, now: float) -> None:
        """The instance has said no."""
        self.gateways.answered(call, machine.id, now, "", 0.0)
        self._end(call, order.refusal.value)

    def _end(self, call: Call, outcome: str) -> None:
        """A request has come to its end without an answer."""
        self._ended += 1
        self.statistics.count(call.arrived, outcome)

    # -- work -------------------------------------------------------------------------------------

    def worked(self, machine: Machine, task: Task, fact: Fact, now: float) -> None:
        """A fetch, a load or a move has come to its end."""
        spent_s, add = now - task.began, self.statistics.add_work
        match fact:
            case events.Fetched(_, size):
                add(now, fetches=1, fetch_s=spent_s, fetched_bytes=size)
            case events.FetchOverran() | events.FetchFailed():
                add(now, fetch_s=spent_s)
            case events.Loaded(_, size):
                add(now, loads=1, load_s=spent_s, loaded_bytes=size)
            case events.OutOfMemory():
                add(now, load_s=spent_s, out_of_memory=1)
            case _:
                add(now, load_s=spent_s)

    def ordered(self, order: Action) -> None:
        """Models leave memory, and versions change."""
        name = "evictions" if isinstance(order, events.Unload) else type(order).__name__.lower()
        self.statistics.add_work(self.clock.now, **{name: 1})

    # -- instances and failures -------------------------------------------------------------------

    def _machine(self, id: str) -> Machine:
        machine = Machine(
            id,
            self._fleet.make,
            self.clock,
            self._models,
            self,
            draw=self._draw,
            crash_chance=self._crash_chance,
        )
        if self._prepare:
            self._prepare(machine.residency)
        machine.slowness = self._slowness
        self._by_id[id] = machine
        return machine

    def _announce(self) -> None:
        self.gateways.update([Site(each.id, not each.dead) for each in self.machines])

    def _fail(self, failure: Failure, now: float) -> None:
        match failure:
            case Death(instance):
                if instance < len(self.machines):
                    self._die(failure, self.machines[instance], now)
            case SlowStore(_, for_s, factor):
                self._slow(factor, now)
                self.clock.at(now + for_s, self._slow, 1.0)
            case Update(_, index, broken):
                self._update(self._models.name(index), f"v{now:g}", broken, now)

    def _die(self, death: Death, machine: Machine, now: float) -> None:
        """Who waited for a model is sent on; what a handler had begun is lost."""
        if machine.dead:
            return
        calls = machine.die()
        self.gateways.lost(machine.id)
        self._announce()
        self.clock.at(now + death.down_s, self._come_back, death)
        for call in calls:
            self.gateways.answered(call, machine.id, now, "", 0.0)
            if call.start:
                self._end(call, "failed")
            else:
                self._deliver(call, now)

    def _come_back(self, death: Death, now: float) -> None:
        old = self.machines[death.instance]
        new = self.machines[death.instance] = self._machine(old.id)
        if death.keeps_disk:
            new.recover(old.disk, now)
        self._announce()

    def _slow(self, factor: float, now: float) -> None:
        self._slowness = factor
        for machine in self.machines:
            machine.slowness = factor

    def _update(self, name: str, version: str, broken: bool, now: float) -> None:
        for machine in self.machines:
            if broken:
                machine.bad.add(key_of(name, version))
            machine.tell(events.Changed(name, version), now)

    # -- windows ----------------------------------------------------------------------------------

    def _begin_window(self, _: None, now: float) -> None:
        if self.statistics.windows:
            self._end_window()
        self.statistics.begin_window(now)
        self.clock.at(now + self._window_s, self._next_window, None)

    def _next_window(self, _: None, now: float) -> None:
        if self._more:
            self.gateways.sweep(now)
            self._begin_window(None, now)

    def _end_window(self) -> None:
        alive = [machine for machine in self.machines if not machine.dead]
        loaded = sum(len(machine.residency.here.loaded) for machine in alive)
        memory = sum(machine.processes.memory_bytes for machine in alive)
        self.statistics.end_window(memory, loaded, len(alive))
