"""Random histories: a world with true sizes, durations, failures and crashes, run to its end.

`python tests/core/test_histories.py SEEDS` runs more of them by hand and prints what happened.
"""

from __future__ import annotations

import heapq
import random
import sys
from collections import Counter, deque
from dataclasses import dataclass, field

import pytest

from modelplex.core import events as e
from modelplex.core.limits import Limits
from modelplex.core.policies import POLICIES
from modelplex.core.residency import Residency
from modelplex.core.rules import Rule

RULES = [
    Rule("m1", pinned=True),
    Rule("m[2-5]", weight=5.0, residency_min_s=1.0),
    Rule("*", queue_max=5),
]


@dataclass
class Truth:
    """What only the world knows of a model."""

    disk_bytes: int
    memory_bytes: int
    on_disk: bool = False
    worker: str = ""  # "loading", "up", "unloading" or none
    busy: set[int] = field(default_factory=set)
    arrived: deque[int] = field(default_factory=deque)  # what should be forwarded next


@dataclass
class World:
    """Carries out orders, some time later, and believes nothing that the core says of itself."""

    limits: Limits
    seed: int
    models: int = 12
    failure: float = 0.05  # of fetches and loads
    crash: float = 0.02  # a worker, at an answer
    growth: float = 0.1  # a measurement beyond what was measured before
    abandoned: float = 0.05
    slow: float = 0.01  # a fetch or load that takes for ever unless cancelled

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.residency = Residency(self.limits)
        self.now = 0.0
        self.heap: list[tuple[float, int, e.Fact]] = []
        self.count = 0
        self.events = 0
        self.capacity = self.limits.memory_bytes
        self.disk: dict[str, int] = {}
        self.memory: dict[str, int] = {}
        self.open_work: dict[str, e.Fact] = {}  # fetches and loads, and what a Cancel makes of them
        self.fate: dict[int, str] = {}
        self.model_of: dict[int, str] = {}
        self.orders: Counter[str] = Counter()
        self.truths = {f"m{i}": self.truth() for i in range(self.models)}

    def truth(self) -> Truth:
        scale = self.random.choice([1, 1, 1, 4, 10])
        disk = self.random.randint(0, self.limits.disk_bytes // 12) * scale
        memory = self.random.randint(0, self.limits.memory_bytes // 12) * scale
        return Truth(disk, memory)  # the largest fit nowhere

    def later(self, fact: e.Fact, delay: float) -> None:
        self.count += 1
        heapq.heappush(self.heap, (self.now + delay, self.count, fact))

    def arrive(self, requests: int, rate: float) -> None:
        at = 0.0
        for number in range(requests):
            at += self.random.expovariate(rate)
            name = f"m{int(self.models * self.random.random() ** 2)}"  # some are hotter
            self.model_of[number] = name
            self.later(e.Invoked(number, name), at)
            if self.random.random() < self.abandoned:
                self.later(e.Abandoned(number), at + self.random.expovariate(1.0))

    # -- the loop ---------------------------------------------------------------------------------

    def run(self, events_max: int) -> None:
        """Play until nothing is left to happen; too many events mean that it would never end."""
        while self.heap or self.residency.next_deadline(self.now) is not None:
            deadline = self.residency.next_deadline(self.now)
            fact: e.Fact
            if deadline is not None and (not self.heap or deadline < self.heap[0][0]):
                self.now, fact = deadline, e.Tick()
            else:
                self.now, _, fact = heapq.heappop(self.heap)
            if self.happens(fact):
                self.hand_in(fact)
            assert self.events <= events_max, f"no end in sight: {self.residency}"

    def hand_in(self, fact: e.Fact) -> None:
        self.events += 1
        for order in self.residency.handle(fact, self.now):
            self.orders[type(order).__name__] += 1
            self.carry_out(order)
        self.residency.check()

    def happens(self, fact: e.Fact) -> bool:  # noqa: PLR0912 - one case a fact
        """Let a fact become true in the world; whether it does."""
        match fact:
            case e.Invoked(request, name):
                self.fate[request] = "waiting"
                self.truths[name].arrived.append(request)
            case e.Abandoned(request):
                if self.fate[request] == "waiting":
                    self.fate[request] = "abandoned"
                    self.truths[self.model_of[request]].arrived.remove(request)
            case e.Answered(request):
                return self.answers(request)
            case e.Fetched() | e.FetchOverran() | e.FetchFailed():
                return self.fetch_ends(fact)
            case e.Loaded() | e.OutOfMemory() | e.LoadFailed():
                return self.load_ends(fact)
            case e.Unloaded(name):
                self.truths[name].worker = ""
                del self.memory[name]
            case e.Dropped(name):
                self.truths[name].on_disk = False
                del self.disk[name]
            case e.Crashed(name):
                return self.crashes(name)
            case e.Measured(name, size):
                if self.truths[name].worker != "up":
                    return False
                self.memory[name] = size
            case e.Resized(size):
                self.capacity = size
            case _:
                pass
        return True

    def answers(self, request: int) -> bool:
        assert self.fate[request] == "forwarded"
        self.fate[request] = "answered"
        name = self.model_of[request]
        self.truths[name].busy.discard(request)
        if self.random.random() < self.crash:
            self.later(e.Crashed(name, "segfault"), self.random.random() * 0.1)
        if self.random.random() < self.growth and name in self.memory:
            grown = int(self.memory[name] * self.random.uniform(0.7, 1.6)) + 1
            self.later(e.Measured(name, grown), 0.01)
        return True

    def fetch_ends(self, fact: e.Fetched | e.FetchOverran | e.FetchFailed) -> bool:
        if self.open_work.pop(fact.model, None) is None:
            return False  # it was cancelled, and has failed already
        if isinstance(fact, e.Fetched):
            self.truths[fact.model].on_disk = True
            self.disk[fact.model] = fact.disk_bytes
        else:
            del self.disk[fact.model]
        return True

    def load_ends(self, fact: e.Loaded | e.OutOfMemory | e.LoadFailed) -> bool:
        if self.open_work.pop(fact.model, None) is None:
            return False
        if isinstance(fact, e.Loaded):
            self.truths[fact.model].worker = "up"
            self.memory[fact.model] = fact.memory_bytes
        else:
            self.truths[fact.model].worker = ""
            del self.memory[fact.model]
        return True

    def crashes(self, name: str) -> bool:
        truth = self.truths[name]
        if truth.worker != "up":
            return False
        truth.worker = ""
        truth.busy.clear()
        del self.memory[name]
        return True

    # -- orders -----------------------------------------------------------------------------------

    def carry_out(self, order: e.Action) -> None:
        match order:
            case e.Fetch(name, limit):
                self.fetch(name, limit)
            case e.Load(name, limit):
                self.load(name, limit)
            case e.Forward(request, name):
                self.forward(request, name)
            case e.Unload(name):
                assert self.truths[name].worker == "up"
                assert not self.truths[name].busy
                self.truths[name].worker = "unloading"
                self.later(e.Unloaded(name), self.random.random() * 0.05)
            case e.Drop(name):
                assert self.truths[name].on_disk
                assert not self.truths[name].worker
                self.later(e.Dropped(name), self.random.random() * 0.05)
            case e.Reject(request, refusal):
                if self.limits.model_ready_timeout_s > 1e6:
                    assert refusal is not e.Refusal.NOT_READY, "starved"
                assert self.fate[request] == "waiting"
                self.fate[request] = "rejected"
                self.truths[self.model_of[request]].arrived.remove(request)
            case e.Cancel(name):
                self.later(self.open_work[name], self.random.random())
            case e.GiveUp():
                pass

    def duration(self) -> float:
        return 1e9 if self.random.random() < self.slow else self.random.expovariate(5.0)

    def fetch(self, name: str, limit: int) -> None:
        truth = self.truths[name]
        assert name not in self.disk
        self.disk[name] = limit
        assert sum(self.disk.values()) <= self.limits.disk_bytes
        failed = e.FetchFailed(name, "no such key")
        self.open_work[name] = failed
        fact: e.Fact = e.Fetched(name, truth.disk_bytes)
        if self.random.random() < self.failure:
            fact = failed
        elif truth.disk_bytes > limit:
            fact = e.FetchOverran(name, self.random.randint(limit + 1, truth.disk_bytes))
        self.later(fact, self.duration())

    def load(self, name: str, limit: int) -> None:
        truth = self.truths[name]
        assert truth.on_disk
        assert not truth.worker
        truth.worker = "loading"
        self.memory[name] = limit
        assert sum(self.memory.values()) <= self.capacity
        failed = e.LoadFailed(name, "bad handler")
        self.open_work[name] = failed
        fact: e.Fact = e.Loaded(name, truth.memory_bytes)
        if self.random.random() < self.failure:
            fact = failed
        elif truth.memory_bytes > limit:
            fact = e.OutOfMemory(name)
        self.later(fact, self.duration())

    def forward(self, request: int, name: str) -> None:
        truth = self.truths[name]
        assert self.fate[request] == "waiting"
        assert truth.arrived.popleft() == request, "not in order of arrival"
        self.fate[request] = "forwarded"
        assert truth.worker == "up"
        truth.busy.add(request)
        most = max(self.limits.concurrency, self.limits.concurrency_brisk)
        assert len(truth.busy) <= most
        self.later(e.Answered(request), self.random.expovariate(20.0))


def random_world(seed: int) -> World:
    draw = random.Random(seed)
    limits = Limits(
        memory_bytes=1000,
        disk_bytes=draw.choice([400, 1000, 5000]),
        fetches_max=draw.choice([1, 2, 8]),
        loads_max=draw.choice([1, 2, 4]),
        concurrency=draw.choice([1, 1, 3]),
        concurrency_brisk=draw.choice([1, 4]),
        model_ready_timeout_s=draw.choice([2.0, 60.0, 1e7]),
        model_load_timeout_s=draw.choice([3.0, 360.0]),
        queue_per_model_max=draw.choice([3, 1000]),
        queue_max=draw.choice([20, 4000]),
        queue_wait_max_s=draw.choice([0.1, 30.0]),
        memory_guess_bytes=draw.choice([1, 50, 2000]),
        cache_enabled=draw.random() < 0.8,
        tenure_max_s=draw.choice([0.0, 1.0]),
        remembered_max=draw.choice([1, 3, 10_000]),
        answers_max=draw.choice([1, 3, 64]),
        policy=draw.choice(sorted(POLICIES)),
        hot_wait_s=draw.choice([0.0, 2.0]),
    )
    world = World(limits, seed, models=draw.choice([2, 5, 12, 40]))
    for name in draw.sample(sorted(world.truths), 2):
        truth = world.truths[name]
        if draw.random() < 0.5 and truth.disk_bytes < limits.disk_bytes:
            truth.on_disk = True
            world.disk[name] = truth.disk_bytes
            world.hand_in(e.Recovered(name, truth.disk_bytes))
    if draw.random() < 0.3:
        world.later(e.Wanted("m0"), draw.random())
    for _ in range(draw.choice([0, 0, 3])):
        rules = draw.sample(RULES, draw.randint(0, len(RULES)))
        world.later(e.Configured(tuple(rules)), draw.random() * 20)
    for _ in range(draw.choice([0, 0, 1, 10])):
        world.later(e.Resized(draw.randint(100, 1500)), draw.random() * 20)
    world.arrive(requests=400, rate=draw.choice([5.0, 30.0, 200.0]))
    return world


def play(seed: int) -> World:
    """One history from its first event to its last, and what has to be true then."""
    world = random_world(seed)
    world.run(events_max=50_000)
    assert set(world.fate.values()) <= {"answered", "rejected", "abandoned"}
    assert world.orders["Forward"] == sum(fate == "answered" for fate in world.fate.values())
    assert world.orders["Reject"] == sum(fate == "rejected" for fate in world.fate.values())
    assert not world.open_work
    assert not any(row.waiting or row.in_flight for row in world.residency.snapshot())
    assert world.residency.memory.held == world.memory
    unpinned = world.memory.keys() - world.residency.here.pinned
    assert not unpinned or sum(world.memory.values()) <= world.capacity, "grown, and nobody went"
    assert world.residency.disk.held == world.disk
    return world


@pytest.mark.parametrize("seed", range(12))
def test_every_request_has_one_end_and_no_budget_is_exceeded(seed: int) -> None:
    """Whatever happens, each request is answered, rejected or abandoned, and the world rests."""
    assert len(play(seed).fate) == 400


if __name__ == "__main__":
    total, orders = 0, Counter[str]()
    for chosen in range(int(sys.argv[1])):
        try:
            world = play(chosen)
        except Exception:
            print(f"seed {chosen}")
            raise
        total += world.events
        orders += world.orders
    print(total, "events;", dict(orders))
