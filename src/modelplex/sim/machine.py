"""One simulated instance: a real residency, whose orders take the time that they would take."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

from modelplex.core import events
from modelplex.core.events import Action, Fact
from modelplex.core.keys import name_of
from modelplex.core.residency import Residency
from modelplex.sim.clock import Clock, Share
from modelplex.sim.parts import Call, Make, Task, Work, not_loaded, worker_of
from modelplex.sim.processes import Processes, Worker
from modelplex.sim.truth import Flaw, Population, Truth


class Watcher(Protocol):
    """Who hears what becomes of requests and of work: the world."""

    def answered(self, machine: Machine, call: Call, now: float, failed: bool) -> None: ...

    def refused(self, machine: Machine, call: Call, order: events.Reject, now: float) -> None: ...

    def worked(self, machine: Machine, task: Task, fact: Fact, now: float) -> None: ...

    def ordered(self, order: Action) -> None:
        """An `Unload`, `Switch`, `Discard` or `GiveUp`."""
        ...


class Machine:
    """One life of one instance; when it has died, another one takes its place."""

    def __init__(
        self,
        id: str,
        make: Make,
        clock: Clock,
        models: Population,
        watcher: Watcher,
        *,
        draw: Callable[[], float],
        crash_chance: float = 0.0,
    ) -> None:
        """`draw` gives numbers from 0 up to 1; crashing models do so at `crash_chance`."""
        self.id = id
        self.make = make
        self.dead = False
        self.residency = Residency(make.limits)
        self.cpus = Share(clock, make.vcpus, 1.0)
        self.network = Share(clock, make.network_bytes_per_s)
        self.slowness = 1.0  # of the store: how much longer a fetch takes
        self.calls: dict[int, Call] = {}  # waiting and forwarded
        self.processes = Processes()
        self.disk: dict[str, int] = {}
        self.bad: set[str] = set()  # versions that cannot be loaded
        self._tasks: dict[str, Task] = {}  # fetches and loads
        self._moves: dict[str, Task] = {}
        self._fetched_at: dict[str, float] = {}
        self._loaded_at: dict[str, float] = {}
        self._clock = clock
        self._models = models
        self._watcher = watcher
        self._draw = draw
        self._crash_chance = crash_chance
        self._alarm_at = math.inf
        self._hands: dict[type[Any], Callable[[Any, float], None]] = {
            events.Forward: self._forward,
            events.Reject: self._reject,
            events.Fetch: self._fetch,
            events.Load: self._load,
            events.Move: self._load,
            events.Unload: self._unload,
            events.Drop: self._drop,
            events.Cancel: self._cancel,
            events.Switch: self._note,
            events.Discard: self._note,
            events.GiveUp: self._note,
        }
        if make.rules:
            self.tell(events.Configured(make.rules), clock.now)

    # -- facts and orders -------------------------------------------------------------------------

    def tell(self, fact: Fact, now: float) -> None:
        """Hand in a fact and begin to carry out what it calls for."""
        if self.dead:
            return
        for order in self.residency.handle(fact, now):
            self._hands[type(order)](order, now)
        self._arm(now)

    def invoke(self, call: Call, now: float) -> None:
        """A request has come."""
        call.sent = now
        self.calls[call.request] = call
        orders = self.residency.handle(events.Invoked(call.request, call.model), now)
        for order in orders:
            self._hands[type(order)](order, now)
        if len(orders) != 1 or type(orders[0]) is not events.Forward:  # else nothing is timed anew
            self._arm(now)

    def die(self) -> list[Call]:
        """End everything. The calls that were here, in the order of their arrival."""
        self.dead = True
        return list(self.calls.values())

    def recover(self, disk: dict[str, int], now: float) -> None:
        """Find the artifacts again that an earlier life has left."""
        self.disk = dict(disk)
        for key, size in disk.items():
            self.tell(events.Recovered(key, size), now)

    def _arm(self, now: float) -> None:
        deadline = self.residency.next_deadline(now)
        if deadline is not None and deadline < self._alarm_at:
            self._alarm_at = deadline
            self._clock.at(deadline, self._ring, deadline)

    def _ring(self, due: float, now: float) -> None:
        """An alarm may be too early, since deadlines move on: then it is set anew."""
        if self.dead or due != self._alarm_at:
            return
        self._alarm_at = math.inf
        deadline = self.residency.next_deadline(now)
        if deadline is not None and deadline <= now:
            self.tell(events.Tick(), now)
        else:
            self._arm(now)

    def _truth(self, key: str) -> Truth:
        return self._models.truth(self._models.index(name_of(key)))

    # -- requests ---------------------------------------------------------------------------------

    def _forward(self, order: events.Forward, now: float) -> None:
        call, key = self.calls[order.request], order.model
        call.begun = now
        if self._fetched_at.get(key, 0.0) > call.sent:
            call.start = "cold"
        else:
            call.start = "disk" if self._loaded_at[key] > call.sent else "warm"
        worker = self.processes.of[key]
        call.worker, call.key = worker, key
        worker.calls[call.request] = call
        self.cpus.begin(worker.models[key].handle_s, self._handled, call, now)

    def _handled(self, call: Call, now: float) -> None:
        worker = call.worker
        if self.dead or worker is None:
            return
        truth = worker.models.get(call.key)
        flawed = truth is not None and truth.flaw is Flaw.CRASHING
        if flawed and self._draw() < self._crash_chance:
            self._crash(worker, now)
        else:
            del worker.calls[call.request]
            self._end(call, now, failed=False)

    def _end(self, call: Call, now: float, failed: bool) -> None:
        del self.calls[call.request]
        self._watcher.answered(self, call, now, failed)
        self.tell(events.Answered(call.request), now)

    def _crash(self, worker: Worker, now: float) -> None:
        """A worker dies, with all its models and with what they were doing."""
        calls, models = list(worker.calls.values()), list(worker.models)
        self.processes.bury(worker)
        self._lose_tasks(worker, now)
        for key in models:
            if self.processes.of.pop(key, None) is worker:
                self.tell(events.Crashed(key, "killed by SIGSEGV"), now)
        for call in calls:
            self.cpus.remove(call, now)
            self._end(call, now, failed=True)

    def _lose_tasks(self, worker: Worker, now: float) -> None:
        """What was on its way into a worker that died comes to its end."""
        for task in [*self._tasks.values(), *self._moves.values()]:
            if worker.number and worker_of(task.order) == worker.number:
                self.cpus.remove(task, now)
                moving = isinstance(task.order, events.Move)
                kind = events.MoveFailed if moving else events.Crashed
                self._finish(task, kind(task.order.model, "its worker died"), now)

    def _reject(self, order: events.Reject, now: float) -> None:
        self._watcher.refused(self, self.calls.pop(order.request), order, now)

    # -- fetches and loads ------------------------------------------------------------------------

    def _begin(self, order: Work, now: float) -> Task:
        key = order.model
        home = self.processes.of.get(key)
        task = Task(order, self._truth(key), now, key in self.bad, home=home)
        self._under_way(order)[key] = task
        return task

    def _under_way(self, order: Work) -> dict[str, Task]:
        """A model may be loaded anew while a move from its earlier life is still open."""
        return self._moves if isinstance(order, events.Move) else self._tasks

    def _finish(self, task: Task, fact: Fact, now: float) -> None:
        if self.dead or task.over:
            return
        task.over = True
        del self._under_way(task.order)[task.order.model]
        self._watcher.worked(self, task, fact, now)
        self.tell(fact, now)

    def _fetch(self, order: events.Fetch, now: float) -> None:
        task = self._begin(order, now)
        if task.truth.fetch_s:
            self._clock.at(now + task.truth.fetch_s * self.slowness, self._fetched, task)
        else:
            self._clock.at(now + self.make.fetch_latency_s, self._transfer, task)

    def _transfer(self, task: Task, now: float) -> None:
        if self.dead or task.over:
            return
        if task.truth.flaw is Flaw.MISSING:
            self._fetched(task, now)
            return
        size = min(task.truth.disk_bytes, task.order.limit_bytes)
        self.network.begin(size * self.slowness, self._fetched, task, now)

    def _fetched(self, task: Task, now: float) -> None:
        key, size = task.order.model, task.truth.disk_bytes
        fact: Fact = events.Fetched(key, size)
        if task.truth.flaw is Flaw.MISSING:
            fact = events.FetchFailed(key, "the store has no such artifact", passing=True)
        elif size > task.order.limit_bytes:
            fact = events.FetchOverran(key, size)
        elif not (self.dead or task.over):
            self.disk[key] = size
            self._fetched_at[key] = now
        self._finish(task, fact, now)

    def _load(self, order: events.Load | events.Move, now: float) -> None:
        task = self._begin(order, now)
        self.cpus.begin(task.truth.load_s, self._loaded, task, now)

    def _loaded(self, task: Task, now: float) -> None:
        if self.dead or task.over:
            return
        order, truth = task.order, task.truth
        fact: Fact
        if truth.flaw is Flaw.BROKEN or task.bad:
            fact = not_loaded(order, "it cannot be loaded")
        elif isinstance(order, events.Move) and self.processes.of.get(order.model) is not task.home:
            fact = events.MoveFailed(order.model, "it has left meanwhile")
        elif truth.memory_bytes > order.limit_bytes and not worker_of(order):
            fact = events.OutOfMemory(order.model)
        else:
            fact = self._move_in(order, truth, now)
        self._finish(task, fact, now)

    def _move_in(self, order: Work, truth: Truth, now: float) -> Fact:
        worker = self.processes.move_in(order.model, worker_of(order), truth)
        if isinstance(order, events.Move):
            return events.Moved(order.model, worker.share_bytes)
        self._loaded_at[order.model] = now
        return events.Loaded(order.model, worker.share_bytes)

    def _cancel(self, order: events.Cancel, now: float) -> None:
        task = self._tasks[order.model]
        self.network.remove(task, now)
        self.cpus.remove(task, now)
        self._clock.at(now, self._given_up, task)

    def _given_up(self, task: Task, now: float) -> None:
        key = task.order.model
        fetch = isinstance(task.order, events.Fetch)
        kind = events.FetchFailed if fetch else events.LoadFailed
        self._finish(task, kind(key, "it took too long and was given up"), now)

    # -- ends -------------------------------------------------------------------------------------

    def _unload(self, order: events.Unload, now: float) -> None:
        self._note(order, now)
        self._clock.at(now + self.make.unload_s, self._unloaded, order.model)

    def _unloaded(self, key: str, now: float) -> None:
        if not self.dead:
            self.processes.move_out(key)
            self.tell(events.Unloaded(key), now)

    def _drop(self, order: events.Drop, now: float) -> None:
        self._clock.at(now + self.make.drop_s, self._dropped, order.model)

    def _dropped(self, key: str, now: float) -> None:
        if not self.dead:
            del self.disk[key]
            self._fetched_at.pop(key, None)
            self._loaded_at.pop(key, None)
            self.tell(events.Dropped(key), now)

    def _note(self, order: Action, now: float) -> None:
        self._watcher.ordered(order)
