"""Worlds in which anything may happen next, made of bytes so that a failing one becomes small.

Nothing here has a duration: every order may end at any moment, well or badly, workers die, owners
change their minds, clocks jump. The world believes nothing that the core says of itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelplex.core import events as e
from modelplex.core.keys import name_of, version_of
from modelplex.core.limits import Limits
from modelplex.core.policies import POLICIES
from modelplex.core.residency import Residency
from modelplex.core.rules import Rule

NAMES = ("a", "b", "c", "d", "e")
JUMPS_S = (0.0, 0.01, 0.1, 1.0, 10.0, 100.0, 1e6)
RULES = (
    Rule("a", pinned=True),
    Rule("b", weight=8.0, queue_max=2),
    Rule("[cd]", residency_min_s=5.0),
    Rule("*", refresh=True),
)
Order = e.Fetch | e.Load | e.Move | e.Unload | e.Drop


class Ran(Exception):
    """The bytes are used up."""


class World:
    """Carries out orders when it likes to."""

    def __init__(self, recipe: bytes) -> None:
        self.bytes: Iterator[int] = iter(recipe)
        self.now = 1.0
        self.requests = 0
        self.waiting: dict[int, str] = {}
        self.forwarded: dict[int, tuple[str, int]] = {}  # to its key, in that worker
        self.open: dict[str, Order] = {}  # by key; of a move under "move KEY"
        self.on_disk: set[str] = set()
        self.workers: dict[str, int] = {}  # of loaded keys; 0: its own
        self.changes = 0
        draw = self.draw
        self.limits = Limits(
            memory_bytes=100,
            disk_bytes=(40, 100, 1000)[draw(3)],
            fetches_max=2,
            loads_max=1 + draw(2),
            concurrency=1 + draw(2),
            concurrency_brisk=(1, 4)[draw(2)],
            answers_max=(1, 2, 64)[draw(3)],
            models_per_worker=(1, 1, 3)[draw(3)],
            policy=list(POLICIES)[draw(len(POLICIES))],
            quarantine_after=2,
            queue_per_model_max=4,
            queue_max=8,
            queue_wait_max_s=(0.05, 30.0)[draw(2)],
            remembered_max=3,
            memory_guess_bytes=20,
            cache_enabled=draw(4) > 0,
        )
        self.residency = Residency(self.limits)

    def draw(self, count: int) -> int:
        """A number below `count`."""
        byte = next(self.bytes, None)
        if byte is None:
            raise Ran
        return byte % count

    def choose(self, things: list[str]) -> str:
        return things[self.draw(len(things))]

    # -- what happens -----------------------------------------------------------------------------

    def run(self) -> None:
        """Whatever the bytes say, and then as they all should, until nobody waits any more."""
        happenings = (
            self.invoke, self.invoke, self.invoke, self.end_order, self.end_order, self.end_order,
            self.answer, self.answer, self.abandon, self.crash, self.measure, self.version,
            self.configure, self.resize, self.pass_time,
        )  # fmt: skip
        try:
            while True:
                happenings[self.draw(len(happenings))]()
        except Ran:
            self.calm_down()

    def calm_down(self) -> None:
        for _ in range(2000):
            if self.forwarded:
                self.answer_one(next(iter(self.forwarded)))
            elif self.open:
                key = next(iter(self.open))
                self.tell(self.success(self.open.pop(key)))
            elif self.waiting:
                deadline = self.residency.next_deadline(self.now)
                assert deadline is not None, f"nothing will happen any more: {self.waiting}"
                self.now = deadline
                self.tell(e.Tick())
            else:
                return
        raise AssertionError(f"no end in sight: {self.residency}")

    def invoke(self) -> None:
        self.requests += 1
        name = NAMES[self.draw(len(NAMES))]
        self.waiting[self.requests] = name
        self.tell(e.Invoked(self.requests, name))

    def abandon(self) -> None:
        request = self.draw(self.requests + 1)
        self.waiting.pop(request, None)
        self.tell(e.Abandoned(request))

    def answer(self) -> None:
        if self.forwarded:
            self.answer_one(list(self.forwarded)[self.draw(len(self.forwarded))])

    def answer_one(self, request: int) -> None:
        del self.forwarded[request]
        self.tell(e.Answered(request))

    def crash(self) -> None:
        """A worker dies, with all that it holds and all that is being loaded into it."""
        if not self.workers:
            return
        first = self.choose(list(self.workers))
        number = self.workers[first]
        dead = [key for key, at in self.workers.items() if at == number != 0] or [first]
        hit = [k for k, order in self.open.items() if number and _worker(order) == number]
        for key in dead:
            del self.workers[key]
            for request in [r for r, (k, _) in self.forwarded.items() if k == key]:
                self.forwarded[request] = ("", 0)
        for key in dead:
            if not isinstance(self.open.get(key), e.Unload):
                self.tell(e.Crashed(key, "segfault"))
        for key in hit:
            order = self.open.pop(key, None)
            if isinstance(order, e.Load):
                self.tell(e.Crashed(order.model, "segfault"))
            elif isinstance(order, e.Move):
                self.tell(e.MoveFailed(order.model, "segfault"))

    def measure(self) -> None:
        if self.workers:
            self.tell(e.Measured(self.choose(list(self.workers)), self.draw(60)))

    def version(self) -> None:
        name = NAMES[self.draw(2)]
        self.changes += 1
        if self.draw(3):
            self.tell(e.Changed(name, f"v{self.draw(4)}"))
        else:
            self.tell(e.RolledBack(name, ("", "v1")[self.draw(2)]))

    def configure(self) -> None:
        mask = self.draw(16)
        self.tell(e.Configured(tuple(r for n, r in enumerate(RULES) if mask >> n & 1)))

    def resize(self) -> None:
        if self.draw(4) == 0:
            self.tell(e.Wanted(NAMES[self.draw(len(NAMES))]))
        else:
            self.tell(e.Resized(30 + self.draw(120)))

    def pass_time(self) -> None:
        self.now += JUMPS_S[self.draw(len(JUMPS_S))]
        deadline = self.residency.next_deadline(self.now)
        if deadline is not None and deadline <= self.now:
            self.tell(e.Tick())

    def end_order(self) -> None:
        if not self.open:
            return
        key, kind = self.choose(list(self.open)), self.draw(12)
        order = self.open.pop(key)
        self.tell(self.failure(order, kind) if kind < 3 else self.success(order))

    def success(self, order: Order) -> e.Fact:
        key = order.model
        match order:
            case e.Fetch(limit_bytes=limit):
                self.on_disk.add(key)
                size = min(limit, 10)
                content = "twin" if size == 10 and name_of(key) in ("a", "b") else ""
                return e.Fetched(key, size, content, version_of(key) or f"v{self.changes % 4}")
            case e.Load(limit_bytes=limit, worker=worker):
                self.workers[key] = worker
                return e.Loaded(key, min(limit, 25))
            case e.Move(limit_bytes=limit, worker=worker):
                if key not in self.workers or isinstance(self.open.get(key), e.Unload):
                    return e.MoveFailed(key, "it has gone")
                self.workers[key] = worker
                return e.Moved(key, min(limit, 25))
            case e.Unload():
                self.workers.pop(key, None)
                return e.Unloaded(key)
            case e.Drop():
                self.on_disk.discard(key)
                return e.Dropped(key)

    def failure(self, order: Order, kind: int) -> e.Fact:
        match order, kind:
            case e.Fetch(key, limit), 0:
                return e.FetchOverran(key, limit + 1)
            case e.Fetch(key), _:
                return e.FetchFailed(key, "away", passing=kind == 1)
            case e.Load(key), 0:
                return e.OutOfMemory(key)
            case e.Load(key), _:
                return e.LoadFailed(key, "bad handler")
            case e.Move(key), _:
                return e.MoveFailed(key, "no room")
            case _:
                return self.success(order)  # these never fail

    # -- what is ordered --------------------------------------------------------------------------

    def tell(self, fact: e.Fact) -> None:
        orders = self.residency.handle(fact, self.now)
        self.residency.check()
        for order in orders:
            self.obey(order)
        if any(isinstance(order, e.Load | e.Move) for order in orders):
            memory = self.residency.memory
            assert memory.used_bytes <= memory.capacity_bytes, "promised more than there is"
        if any(isinstance(order, e.Fetch) for order in orders):
            disk = self.residency.disk
            assert disk.used_bytes <= disk.capacity_bytes, "promised more than there is"

    def obey(self, order: e.Action) -> None:
        match order:
            case e.Forward(request, key):
                assert self.waiting.pop(request) == name_of(key)
                self.forwarded[request] = (key, self.workers[key])
                self.check_worker(key)
            case e.Reject(request):
                del self.waiting[request]
                assert 0.0 <= order.retry_after_s <= 360.0
            case e.Fetch(key):
                assert key not in self.on_disk
                self.begin(key, order)
            case e.Load(key):
                assert key in self.on_disk
                assert key not in self.workers
                self.begin(key, order)
            case e.Move(key):
                assert key in self.workers
                self.begin(f"move {key}", order)
            case e.Unload(key):
                assert not any(k == key for k, _ in self.forwarded.values())
                self.begin(key, order)
            case e.Drop(key):
                assert key in self.on_disk
                assert key not in self.workers
                self.begin(key, order)
            case e.Cancel(key):
                assert isinstance(self.open[key], e.Fetch | e.Load)
            case e.Switch(name, key):
                assert name_of(key) == name
                assert key in self.workers
            case e.Discard() | e.GiveUp():
                pass

    def begin(self, key: str, order: Order) -> None:
        assert key not in self.open, self.open[key]
        self.open[key] = order

    def check_worker(self, key: str) -> None:
        """No worker has more than it may, and the instance has not either."""
        number = self.workers[key]
        busy = [k for k, at in self.forwarded.values() if at == number]
        assert number == 0 or len(busy) == 1, busy
        most = max(self.limits.concurrency, self.limits.concurrency_brisk)
        assert busy.count(key) <= most, busy
        assert len(self.forwarded) <= self.limits.answers_max
        assert not isinstance(self.open.get(key), e.Unload)


def _worker(order: Order) -> int:
    return order.worker if isinstance(order, e.Load | e.Move) else 0


@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(st.binary(min_size=40, max_size=160))
def test_whatever_happens_all_books_agree_and_every_request_has_its_end(recipe: bytes) -> None:
    """`check()` holds after every fact, orders make sense, budgets hold, and the world rests."""
    try:
        world = World(recipe)
    except Ran:
        return
    world.run()
    assert not world.waiting
    assert not world.forwarded
