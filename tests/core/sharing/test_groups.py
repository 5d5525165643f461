"""Many models in a worker: who shares with whom, whose turn it is, and who moves.

`python -m tests.core.test_groups SEEDS` plays more worlds by hand.
"""

from __future__ import annotations

import heapq
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from modelplex.core import events as e
from modelplex.core.holdings import Holdings
from modelplex.core.limits import Limits
from modelplex.core.residency import Residency
from modelplex.core.sharing.apart import APART_MIN_S
from modelplex.core.sharing.groups import Groups
from modelplex.core.sharing.moves import check, reserved

LIMITS = Limits(
    memory_bytes=100_000,
    disk_bytes=100_000,
    loads_max=1,
    memory_guess_bytes=10,
    tenure_max_s=0.0,
    models_per_worker=3,
    patience_s=0.1,
    queue_wait_max_s=1e9,
)


class Machine:
    """A residency whose loads succeed at once, and that remembers where its models are."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.here = Residency(limits)
        self.number = 0
        self.now = 0.0
        self.workers: dict[str, int] = {}
        self.said: list[e.Action] = []

    def tell(self, *facts: e.Fact) -> list[e.Action]:
        """The orders that follow; loads and fetches are carried out."""
        said: list[e.Action] = []
        for fact in facts:
            orders = self.here.handle(fact, self.now)
            self.here.check()
            said += orders
            for order in orders:
                said += self.obey(order)
        return said

    def obey(self, order: e.Action) -> list[e.Action]:
        match order:
            case e.Fetch(model):
                return self.tell(e.Fetched(model, 10))
            case e.Load(model, _, worker):
                self.workers[model] = worker
                return self.tell(e.Loaded(model, 10))
            case e.Unload(model):
                del self.workers[model]
                return self.tell(e.Unloaded(model))
        return []

    def invoke(self, model: str) -> int:
        """A request; whether it is forwarded shows in `forwarded`."""
        self.number += 1
        self.said = self.tell(e.Invoked(self.number, model))
        return self.number

    def answer(self, request: int) -> list[e.Action]:
        return self.tell(e.Answered(request))

    def call(self, *models: str) -> None:
        """One request each, answered at once."""
        for model in models:
            self.answer(self.invoke(model))

    def tick(self) -> list[e.Action]:
        """Time passes until something is due."""
        due = self.here.next_deadline(self.now)
        assert due is not None
        self.now = due
        return self.tell(e.Tick())

    def move(self, order: e.Action) -> list[e.Action]:
        """Carry out a move."""
        assert isinstance(order, e.Move)
        self.workers[order.model] = order.worker
        return self.tell(e.Moved(order.model, 10))


def moves(orders: list[e.Action]) -> list[e.Move]:
    return [order for order in orders if isinstance(order, e.Move)]


def test_models_fill_a_worker_before_another_is_started() -> None:
    machine = Machine()
    machine.call("a", "b", "c", "d")
    assert machine.workers == {"a": 1, "b": 1, "c": 1, "d": 2}


def test_one_model_per_worker_means_no_numbers() -> None:
    machine = Machine(Limits(memory_bytes=1000, disk_bytes=1000, memory_guess_bytes=10))
    machine.call("a", "b")
    assert machine.workers == {"a": 0, "b": 0}


def test_a_model_with_requirements_lives_alone() -> None:
    machine = Machine()
    machine.tell(e.Recovered("a", 10, alone=True))
    machine.call("a", "b")
    assert machine.workers == {"a": 0, "b": 1}


def test_the_first_of_a_worker_has_room_for_the_process_reserved() -> None:
    machine = Machine()
    machine.call("a")
    machine.tell(e.Recovered("b", 10), e.Recovered("c", 10), e.Recovered("d", 10))
    limits = {}
    for model in ("b", "c", "d"):
        machine.invoke(model)
        limits[model] = next(o.limit_bytes for o in machine.said if isinstance(o, e.Load))
    assert limits["d"] == limits["c"] + 11  # what the first took, and a tenth


def test_models_of_a_worker_take_turns() -> None:
    machine = Machine()
    machine.call("a", "b")
    first, second, third = (machine.invoke("a") for _ in range(3))
    other = machine.invoke("b")
    assert machine.answer(first) == [e.Forward(second, "a")]  # it stood in line before
    assert machine.answer(second) == [e.Forward(other, "b")]
    assert machine.answer(other) == [e.Forward(third, "a")]


def test_who_waits_for_too_long_moves_away_and_so_does_who_was_slow() -> None:
    machine = Machine()
    machine.call("a", "b", "c")
    slow, waiting = machine.invoke("a"), machine.invoke("b")
    (to_the_side,) = moves(machine.tick())
    assert (to_the_side.model, to_the_side.worker, machine.now) == ("b", 2, LIMITS.patience_s)
    orders = machine.move(to_the_side)
    assert e.Forward(waiting, "b") in orders
    (apart,) = moves(orders)
    assert (apart.model, apart.worker) == ("a", 0)
    machine.move(apart)
    machine.answer(slow)
    machine.answer(waiting)
    machine.call("a", "b", "c")
    assert machine.workers == {"a": 0, "b": 2, "c": 1}


def test_after_its_time_apart_a_model_shares_again() -> None:
    machine = Machine()
    machine.call("a", "b")
    slow, waiting = machine.invoke("a"), machine.invoke("b")
    (aside,) = moves(machine.tick())
    (apart,) = moves(machine.move(aside))
    machine.move(apart)
    machine.answer(slow)
    machine.answer(waiting)
    (back,) = moves(machine.tick())
    assert (back.model, machine.now) == ("a", LIMITS.patience_s + APART_MIN_S)
    machine.move(back)
    assert machine.workers == {"a": 2, "b": 2}


def test_an_overloaded_worker_is_not_helped_by_busy_ones() -> None:
    """Quick requests that wait for long are a lack of processors, not somebody's fault."""
    machine = Machine(replace(LIMITS, answers_max=2, models_per_worker=2))
    machine.call("a", "b", "c", "d")
    running = [machine.invoke("a"), machine.invoke("c")]
    machine.invoke("b")
    machine.now = LIMITS.patience_s * 0.9
    machine.answer(running[0])
    machine.invoke("a")
    machine.now = LIMITS.patience_s * 1.01
    assert not moves(machine.tell(e.Tick()))


def test_a_crash_costs_the_neighbours_one_reload_and_its_cause_lives_alone() -> None:
    machine = Machine()
    machine.call("a", "b", "c")
    fatal, innocent = machine.invoke("a"), machine.invoke("b")
    orders = machine.tell(e.Crashed("b", "killed"), e.Crashed("a", "killed"), e.Crashed("c", "k"))
    assert e.Forward(innocent, "b") in orders
    machine.answer(fatal)
    machine.answer(innocent)
    machine.call("a", "c")
    assert machine.workers == {"a": 0, "b": 2, "c": 2}


def test_who_is_taken_out_of_a_worker_that_lives_costs_the_neighbours_nothing() -> None:
    machine = Machine()
    machine.call("a", "b")
    fatal = machine.invoke("a")
    assert machine.tell(e.Crashed("a", "out of memory", worker_lives=True)) == []
    machine.answer(fatal)
    machine.call("a", "b", "c")
    assert machine.workers == {"a": 0, "b": 1, "c": 1}


def test_a_load_whose_worker_a_neighbour_kills_is_tried_again() -> None:
    machine = Machine()
    machine.call("a")
    machine.invoke("a")
    machine.tell(e.Recovered("b", 10))
    assert machine.here.handle(e.Invoked(99, "b"), 0.0)[0] == e.Load("b", 15, 1)
    again = machine.tell(e.Crashed("a", "killed"), e.Crashed("b", "killed"))
    assert e.Forward(99, "b") in again
    assert machine.workers["b"] == 2


def test_a_worker_that_lost_half_of_its_models_is_left() -> None:
    machine = Machine(replace(LIMITS, models_per_worker=16))
    names = [f"m{i:02}" for i in range(16)]
    machine.call(*names)
    orders: list[e.Action] = []
    for _ in range(8):
        used = machine.here.memory.used_bytes
        orders = machine.tell(e.Resized(used - 10), e.Resized(LIMITS.memory_bytes))
    rest = [name for name in names if name in machine.workers]
    assert len(rest) == 8
    while pending := moves(orders):
        orders = [order for each in pending for order in machine.move(each)]
    assert {machine.workers[name] for name in rest} == {2}
    machine.call("new")
    assert machine.workers["new"] == 2  # and nobody joins the one that was left


def test_a_move_that_failed_is_tried_again_later() -> None:
    machine = Machine()
    machine.call("a", "b")
    slow = machine.invoke("a")
    machine.invoke("b")
    (order,) = moves(machine.tick())
    (apart,) = moves(machine.tell(e.MoveFailed("b", "no room")))
    assert apart.model == "a"
    machine.tell(e.MoveFailed("a", "no room"))
    machine.tick()
    assert machine.answer(slow) or order
    assert machine.here.memory.held.keys() == {"a", "b", "\nb"}


# -- planted bugs ---------------------------------------------------------------------------------


def _stray_reservation(here: Holdings) -> None:
    here.memory.reserve(reserved("a"), 1)


def _move_to_nowhere(here: Holdings) -> None:
    _stray_reservation(here)
    here.moves.open["a"] = groups_of(here).all[1].number


def _lost_group(here: Holdings) -> None:
    del groups_of(here).all[1]


def _out_of_memory_member(here: Holdings) -> None:
    groups_of(here).all[1].members["d"] = None
    groups_of(here).of["d"] = groups_of(here).all[1]


def groups_of(here: Holdings) -> Groups:
    assert here.groups is not None
    return here.groups


PLANTED: dict[str, Callable[[Holdings], object]] = {
    "freed": lambda here: groups_of(here).freed.update({1: groups_of(here).all[1]}),
    "a worker that is gone": _lost_group,
    "not in memory": _out_of_memory_member,
    "reservation": _stray_reservation,
    "moves to nowhere": _move_to_nowhere,
    "too many": lambda here: groups_of(here).all[1].guests.update({"x": None, "y": None}),
    "in two books": lambda here: groups_of(here).of.pop("a"),
    "arriving": lambda here: groups_of(here).all[1].arriving.update({"a": None}),
    "running": lambda here: setattr(groups_of(here).all[1], "running", ""),
    "a stranger in line": lambda here: groups_of(here).all[1].line.update({"x": 0.0}),
    "waits in no line": lambda here: groups_of(here).all[1].line.clear(),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_every_invariant_catches_what_breaks_it(bug: str) -> None:
    machine = Machine()
    machine.call("a", "b")
    machine.tell(e.Recovered("d", 10))
    machine.invoke("a")
    machine.invoke("b")
    check(machine.here.here)
    PLANTED[bug](machine.here.here)
    with pytest.raises(AssertionError):
        check(machine.here.here)


# -- random worlds --------------------------------------------------------------------------------


@dataclass
class Process:
    """What a world knows of one worker."""

    number: int
    models: set[str] = field(default_factory=set)
    coming: set[str] = field(default_factory=set)
    request: int = 0
    dead: bool = False


class World:
    """Carries out orders in their time, and kills a worker now and then."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.per_worker = self.draw.choice([2, 3, 10, 40])
        limits = Limits(
            memory_bytes=self.draw.choice([300, 1000, 5000]),
            disk_bytes=1000,
            loads_max=self.draw.choice([1, 2, 4]),
            memory_guess_bytes=10,
            models_per_worker=self.per_worker,
            patience_s=self.draw.choice([0.01, 0.1]),
            answers_max=self.draw.choice([1, 2, 64]),
            quarantine_after=1000,
            policy="lru",
        )
        self.here = Residency(limits)
        self.now, self.count = 0.0, 0
        self.heap: list[tuple[float, int, e.Fact]] = []
        self.at: dict[str, Process] = {}
        self.processes: dict[int, Process] = {}
        self.on: dict[int, Process] = {}  # request: where it runs
        self.fate: dict[int, str] = {}
        self.loading: dict[str, Process] = {}
        self.moving: dict[str, Process] = {}

    def later(self, fact: e.Fact, delay: float) -> None:
        self.count += 1
        heapq.heappush(self.heap, (self.now + delay, self.count, fact))

    def play(self, requests: int) -> None:
        at = 0.0
        for number in range(1, requests + 1):
            at += self.draw.expovariate(50.0)
            self.later(e.Invoked(number, f"m{int(60 * self.draw.random() ** 2)}"), at)
            if self.draw.random() < 0.05:
                self.later(e.Abandoned(number), at + 0.05)
        for _ in range(5):
            self.later(e.Resized(self.draw.randint(150, 5000)), self.draw.random() * at)
        ended = 0
        while self.heap:
            due = self.here.next_deadline(self.now)
            if due is not None and due < self.heap[0][0]:
                self.now = due
                self.hand_in(e.Tick())
            else:
                self.now, _, fact = heapq.heappop(self.heap)
                if self.happens(fact):
                    self.hand_in(fact)
            ended += 1
            assert ended < 100 * requests, f"no end in sight: {self.here}"

    def hand_in(self, fact: e.Fact) -> None:
        orders = self.here.handle(fact, self.now)
        self.here.check()
        for order in orders:
            self.carry_out(order)

    def happens(self, fact: e.Fact) -> bool:
        match fact:
            case e.Invoked(request):
                self.fate[request] = "waiting"
            case e.Abandoned(request) if self.fate[request] == "waiting":
                self.fate[request] = "abandoned"
            case e.Answered(request):
                self.answers(request)
            case e.Loaded(name):
                return self.arrives(name, self.loading)
            case e.Moved(name):
                process = self.moving[name]
                process.coming.discard(name)
                if name not in self.at or process.dead:
                    del self.moving[name]
                    self.hand_in(e.MoveFailed(name, "one of them has gone meanwhile"))
                    return False
                self.at[name].models.discard(name)
                return self.arrives(name, self.moving)
            case e.MoveFailed(name):
                self.moving.pop(name).coming.discard(name)
            case e.Unloaded(name):
                self.leaves(name)
            case e.Crashed(name):
                return False
        return True

    def arrives(self, name: str, coming: dict[str, Process]) -> bool:
        if (process := coming.pop(name, None)) is None:
            return False
        process.coming.discard(name)
        process.models.add(name)
        self.at[name] = process
        return True

    def leaves(self, name: str) -> None:
        if process := self.at.pop(name, None):
            process.models.discard(name)

    def answers(self, request: int) -> None:
        process = self.on.pop(request)
        self.fate[request] = "answered"
        if process.request == request:
            process.request = 0
            if self.draw.random() < 0.02:
                self.dies(process)

    def dies(self, process: Process) -> None:
        """By the request that it works on, whose answer is handed in afterwards."""
        self.processes.pop(process.number, None)
        process.dead = True
        names = [*process.models, *(n for n, p in self.loading.items() if p is process)]
        self.draw.shuffle(names)
        for name in names:
            self.leaves(name)
            self.loading.pop(name, None)
        for name in names:
            self.hand_in(e.Crashed(name, "killed"))

    def process(self, number: int) -> Process:
        if number == 0:
            return Process(0)
        return self.processes.setdefault(number, Process(number))

    def carry_out(self, order: e.Action) -> None:
        match order:
            case e.Fetch(name):
                self.later(e.Fetched(name, 10), self.duration())
            case e.Load(name, _, worker):
                self.comes(name, self.process(worker), self.loading)
                self.later(e.Loaded(name, self.draw.randint(1, 40)), self.duration())
            case e.Move(name, _, worker):
                assert name in self.at
                self.comes(name, self.process(worker), self.moving)
                bad = self.draw.random() < 0.2
                fact = e.MoveFailed(name, "no") if bad else e.Moved(name, self.draw.randint(1, 40))
                self.later(fact, self.duration())
            case e.Forward(request, name):
                process = self.at[name]
                assert not process.request, "two at a time"
                process.request, self.on[request] = request, process
                self.fate[request] = "forwarded"
                self.later(e.Answered(request), self.duration())
            case e.Unload(name):
                self.later(e.Unloaded(name), 0.01)
            case e.Drop(name):
                self.later(e.Dropped(name), 0.01)
            case e.Reject(request):
                self.fate[request] = "rejected"

    def comes(self, name: str, process: Process, coming: dict[str, Process]) -> None:
        coming[name] = process
        process.coming.add(name)
        assert len(process.models | process.coming) <= self.per_worker

    def duration(self) -> float:
        return self.draw.expovariate(20.0) * self.draw.choice([0.01, 0.1, 1, 1, 10])


@pytest.mark.parametrize("seed", range(5))
def test_random_worlds_come_to_rest(seed: int) -> None:
    """Every request has one end, workers do one thing at a time, and no group outlives its use."""
    play(World(seed), 60)


def play(world: World, requests: int) -> None:
    world.play(requests)
    assert set(world.fate.values()) <= {"answered", "rejected", "abandoned"}
    groups = world.here.here.groups
    assert groups is not None
    assert {n for n, p in world.processes.items() if p.models} == set(groups.all)
    assert not groups.runs


if __name__ == "__main__":
    for chosen in range(int(sys.argv[1])):
        play(World(chosen), 150)
        print(chosen)
