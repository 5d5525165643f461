"""Versions that follow one another: step by step, and through random histories with a ledger."""

from __future__ import annotations

import heapq
import random
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import pytest

from modelplex.core import events as e
from modelplex.core.keys import key_of, name_of, version_of
from modelplex.core.limits import Limits
from modelplex.core.residency import Residency
from modelplex.core.rules import Rule

TWO, THREE = key_of("m", "v2"), key_of("m", "v3")


class Steps:
    """A residency whose orders are carried out by hand. Each fact comes a second after the last."""

    def __init__(self, memory_bytes: int = 1000, disk_bytes: int = 1000) -> None:
        limits = Limits(memory_bytes, disk_bytes, loads_max=2, concurrency=2, memory_guess_bytes=1)
        self.residency = Residency(limits)
        self.now = 0.0

    def __call__(self, *facts: e.Fact) -> list[e.Action]:
        """The orders that the last of these facts calls for."""
        orders: list[e.Action] = []
        for fact in facts:
            self.now += 1.0
            orders = self.residency.handle(fact, self.now)
            self.residency.check()
        return orders

    def serve(self, size: int = 10) -> None:
        """Have version v1 of m loaded, by its first request."""
        self(e.Invoked(0, "m"), e.Fetched("m", size, version="v1"), e.Loaded("m", size))
        self(e.Answered(0))


def test_a_new_version_is_loaded_beside_the_old_one_and_takes_over() -> None:
    """The old one answers what it has, is unloaded, and stays on the disk."""
    tell = Steps()
    tell.serve()
    assert tell(e.Changed("m", "v1")) == []
    (fetch,) = tell(e.Changed("m", "v2"))
    assert isinstance(fetch, e.Fetch)
    assert fetch.model == TWO
    assert tell(e.Invoked(1, "m")) == [e.Forward(1, "m")]
    (load,) = tell(e.Fetched(TWO, 10, version="v2"))
    assert isinstance(load, e.Load)
    tell(e.Invoked(2, "m"))
    assert tell(e.Invoked(3, "m")) == []  # the old one is busy
    assert tell(e.Loaded(TWO, 10)) == [e.Switch("m", TWO), e.Forward(3, TWO)]
    assert tell(e.Invoked(4, "m")) == [e.Forward(4, TWO)]
    assert tell(e.Answered(1)) == []
    assert tell(e.Answered(2)) == [e.Unload("m", e.Reason.REPLACED)]
    assert tell(e.Unloaded("m")) == []
    assert tell(e.Changed("m", "v2")) == []


def test_the_version_before_the_one_before_leaves_the_disk() -> None:
    """Two versions of a name are kept, and a third only while it is coming."""
    tell = Steps()
    tell.serve()
    tell(e.Changed("m", "v2"), e.Fetched(TWO, 10), e.Loaded(TWO, 10), e.Unloaded("m"))
    orders = tell(e.Changed("m", "v3"), e.Fetched(THREE, 10), e.Loaded(THREE, 10))
    assert e.Drop("m", e.Reason.REPLACED) in orders
    assert e.Unload(TWO, e.Reason.REPLACED) in orders


@pytest.mark.parametrize(
    "failure", [e.LoadFailed(TWO, "bad"), e.Crashed(TWO, "bad"), e.FetchFailed(TWO, "bad")]
)
def test_a_bad_version_is_discarded_and_never_tried_again(failure: e.Fact) -> None:
    """The old one serves on as if nothing had been."""
    tell = Steps()
    tell.serve()
    tell(e.Changed("m", "v2"))
    if not isinstance(failure, e.FetchFailed):
        tell(e.Fetched(TWO, 10))
    assert e.Discard(TWO, "bad") in tell(failure)
    assert tell(e.Changed("m", "v2")) == []
    assert tell(e.Invoked(1, "m")) == [e.Forward(1, "m")]
    assert tell.residency.here.versions.tracks["m"].rejected == {"v2": "bad"}


def test_a_version_that_could_not_be_had_is_tried_again_later() -> None:
    """After a pause, which doubles: the store's absence says nothing about the artifact."""
    tell = Steps()
    tell.serve()
    tell(e.Changed("m", "v2"))
    pauses = []
    for _ in range(4):
        assert tell(e.FetchFailed(TWO, "away", passing=True)) == []
        due = tell.residency.next_deadline(tell.now)
        assert due is not None
        pauses.append(due - tell.now)
        tell.now = due - 1.0
        (fetch,) = tell(e.Tick())
        assert isinstance(fetch, e.Fetch)
    assert pauses == [1.0, 2.0, 4.0, 8.0]


def test_a_candidate_never_evicts_its_incumbent() -> None:
    """Where both do not fit, the new one is put off, with the reason, and the old one serves."""
    tell = Steps(memory_bytes=100)
    tell.serve(60)
    tell(e.Changed("m", "v2"), e.Fetched(TWO, 60))
    assert tell(e.OutOfMemory(TWO)) == []
    track = tell.residency.here.versions.tracks["m"]
    assert (track.candidate, track.problem) == (TWO, "it needs more than 40 bytes")
    assert tell(e.Invoked(1, "m")) == [e.Forward(1, "m")]


def test_a_cold_name_tries_the_candidate_first_and_falls_back() -> None:
    """A change of a model that rests is only noted; its next request decides."""
    tell = Steps(disk_bytes=100)
    tell(e.Recovered("m", 10, version="v1"))
    assert tell(e.Changed("m", "v2")) == []
    (fetch,) = tell(e.Invoked(1, "m"))
    assert isinstance(fetch, e.Fetch)
    assert fetch.model == TWO
    discard, load = tell(e.FetchFailed(TWO, "bad"))
    assert discard == e.Discard(TWO, "bad")
    assert isinstance(load, e.Load)
    assert load.model == "m"
    assert tell(e.Loaded("m", 10)) == [e.Forward(1, "m")]


def test_a_newer_change_overtakes_the_one_under_way() -> None:
    """Who waited for that one waits for the newer."""
    tell = Steps()
    tell(e.Recovered("m", 10, version="v1"), e.Changed("m", "v2"), e.Invoked(1, "m"))
    orders = tell(e.Changed("m", "v3"))
    assert e.Cancel(TWO) in orders
    assert tell(e.FetchFailed(TWO, "given up")) == []
    tell(e.Loaded("m", 10))
    orders = tell(e.Fetched(THREE, 10), e.Loaded(THREE, 10))
    assert orders[0] == e.Switch("m", THREE)


def test_going_back_needs_no_store() -> None:
    """The version before serves again as soon as it is loaded; the other is rejected."""
    tell = Steps()
    tell.serve()
    tell(e.Changed("m", "v2"), e.Fetched(TWO, 10), e.Loaded(TWO, 10), e.Unloaded("m"))
    (load,) = tell(e.RolledBack("m", "v2"))
    assert load == e.Load("m", 11)
    orders = tell(e.Loaded("m", 10))
    assert orders == [e.Switch("m", "m"), e.Unload(TWO, e.Reason.REPLACED)]
    assert tell(e.Unloaded(TWO)) == [e.Drop(TWO, e.Reason.REPLACED)]
    assert tell(e.Dropped(TWO), e.Changed("m", "v2")) == []
    assert tell(e.RolledBack("m")) == []  # there is none before it


def test_a_rejected_version_that_is_all_the_store_has_is_refused() -> None:
    """Its owner does not want it, so a request hears that rather than its answer."""
    tell = Steps()
    tell(e.RolledBack("m", "v2"), e.Invoked(1, "m"))
    reject, drop = tell(e.Fetched("m", 10, version="v2"))
    assert isinstance(reject, e.Reject)
    assert "went back" in str(reject.failure)
    assert drop == e.Drop("m", e.Reason.REPLACED)


def test_found_versions_stand_in_the_order_in_which_they_served() -> None:
    """The last may not have been tried before the restart; the one before it is its fallback."""
    tell = Steps()
    orders = tell(e.Recovered("m", 10, version="v1"), e.Recovered(TWO, 10), e.Recovered(THREE, 10))
    assert orders == []
    track = tell.residency.here.versions.tracks["m"]
    assert (track.previous, track.serving, track.candidate) == ("m", TWO, THREE)
    assert tell(e.Invoked(1, "m")) == [e.Load(THREE, 10)]


def test_being_pinned_goes_with_the_name() -> None:
    """The version that serves is never a victim; the one before is one like all others."""
    tell = Steps()
    tell(e.Configured((Rule("m", pinned=True),)))
    tell(e.Fetched("m", 10, version="v1"), e.Loaded("m", 10))
    tell(e.Changed("m", "v2"), e.Fetched(TWO, 10), e.Loaded(TWO, 10))
    assert list(tell.residency.here.pinned) == [TWO]


# -- random histories -----------------------------------------------------------------------------


@dataclass
class Store:
    """What the world knows of one name: its newest version, and which versions are bad."""

    newest: str = "v0"
    broken: set[str] = field(default_factory=set)  # fail to load
    corrupt: set[str] = field(default_factory=set)  # are no archives


class World:
    """Carries out orders some time later. `ample` disks keep all: then nothing may be refused."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.ample = self.random.random() < 0.6
        limits = Limits(
            memory_bytes=1000,
            disk_bytes=10**6 if self.ample else 300,
            fetches_max=self.random.choice([1, 4]),
            loads_max=self.random.choice([1, 3]),
            concurrency=self.random.choice([1, 2]),
            model_ready_timeout_s=1e7,
            memory_guess_bytes=self.random.choice([1, 100]),
            cache_enabled=self.ample or self.random.random() < 0.8,
            tenure_max_s=self.random.choice([0.0, 1.0]),
            answers_max=self.random.choice([2, 64]),
        )
        self.residency = Residency(limits)
        self.stores = {f"m{i}": Store() for i in range(self.random.choice([1, 3, 8]))}
        self.sizes: dict[str, int] = defaultdict(lambda: self.random.randint(1, 100))
        self.away = 0.0 if self.ample else 0.1  # how often the store does not answer
        self.now, self.count, self.requests = 0.0, 0, 0
        self.heap: list[tuple[float, int, e.Fact | str]] = []
        self.open: dict[str, e.Fact] = {}  # fetches and loads, and what a Cancel makes of them
        self.disk: dict[str, str] = {}  # key -> version
        self.loaded: dict[str, str] = {}
        self.by: dict[int, str] = {}  # request -> the version that answers
        self.refused: dict[int, e.Action] = {}
        self.rejected: dict[str, set[str]] = defaultdict(set)
        self.back: dict[str, tuple[str, str]] = {}  # name -> versions to leave and to go back to
        self.orders: Counter[str] = Counter()

    def later(self, what: e.Fact | str, mean_s: float) -> None:
        self.count += 1
        at = self.now + self.random.expovariate(1 / mean_s)
        heapq.heappush(self.heap, (at, self.count, what))

    def play(self, until: float) -> None:
        while True:
            deadline = self.residency.next_deadline(self.now)
            first = self.heap[0][0] if self.heap else 1e9
            if min(first, 1e9 if deadline is None else deadline) > until:
                self.now = until
                return
            if deadline is not None and deadline < first:
                self.now = deadline
                self.tell(e.Tick())
            else:
                self.now, _, what = heapq.heappop(self.heap)
                self.tell(self.true(what)) if not isinstance(what, str) else self.ends(what)

    def true(self, fact: e.Fact) -> e.Fact:
        """Let a fact become true in the world."""
        match fact:
            case e.Unloaded(key):
                del self.loaded[key]
            case e.Dropped(key):
                del self.disk[key]
        return fact

    def ends(self, key: str) -> None:
        """A fetch or load has come to its end, if it was not cancelled."""
        fact = self.open.pop(key, None)
        if fact is None:
            return
        store = self.stores[name_of(key)]
        wanted, there = version_of(key), store.newest
        if isinstance(fact, e.LoadFailed):
            if self.disk[key] not in store.broken:
                self.loaded[key] = self.disk[key]
                fact = e.Loaded(key, self.sizes[self.disk[key]])
        elif (wanted and wanted != there) or self.random.random() < self.away:
            fact = e.FetchFailed(key, "not now", passing=True)
        elif there not in store.corrupt:
            self.disk[key] = there
            fact = e.Fetched(key, self.sizes[there], version=there)
        self.tell(fact)

    def tell(self, fact: e.Fact) -> None:
        for order in self.residency.handle(fact, self.now):
            self.orders[type(order).__name__] += 1
            self.carry_out(order)
        self.residency.check()
        for name, track in self.residency.here.versions.tracks.items():
            self.rejected[name] |= track.rejected.keys()

    def carry_out(self, order: e.Action) -> None:
        match order:
            case e.Fetch(key):
                assert key not in self.disk
                self.open[key] = e.FetchFailed(key, "corrupt")
                self.later(key, 0.3)
            case e.Load(key):
                assert key in self.disk
                assert key not in self.loaded
                self.open[key] = e.LoadFailed(key, "broken")
                self.later(key, 0.3)
            case e.Forward(request, key):
                version = self.loaded[key]
                assert request not in self.by
                assert version not in self.rejected[name_of(key)], (version, key)
                self.by[request] = version
                self.later(e.Answered(request), 0.05)
            case e.Switch(name, key):
                unwanted, wanted = self.back.pop(name, ("", ""))
                if self.loaded[key] == wanted:
                    self.rejected[name].add(unwanted)
            case e.Unload(key):
                self.later(e.Unloaded(key), 0.02)
            case e.Drop(key):
                assert key not in self.loaded
                self.later(e.Dropped(key), 0.02)
            case e.Reject(request):
                assert not self.ample, order
                self.refused[request] = order
            case e.Cancel(key):
                if key in self.open:
                    fact = self.open.pop(key)
                    if isinstance(fact, e.FetchFailed):
                        fact = e.FetchFailed(key, "given up", passing=True)
                    self.later(fact, 0.05)

    # -- what happens to the world ----------------------------------------------------------------

    def invoke(self, name: str) -> int:
        self.requests += 1
        self.tell(e.Invoked(self.requests, name))
        return self.requests

    def overwrite(self, name: str) -> None:
        store = self.stores[name]
        store.newest = f"v{self.orders.total()}.{self.count}"
        fate = self.random.random()
        if fate < 0.4:
            (store.broken if fate < 0.25 else store.corrupt).add(store.newest)

    def look(self) -> None:
        for name, store in self.stores.items():
            if self.residency.here.versions.is_news(name, store.newest):
                self.tell(e.Changed(name, store.newest))

    def stir(self) -> None:
        """One thing that an outsider does."""
        name = self.random.choice(list(self.stores))
        match self.random.random():
            case chance if chance < 0.8:
                self.invoke(name)
            case chance if chance < 0.88:
                self.overwrite(name)
            case chance if chance < 0.95:
                self.look()
            case chance if chance < 0.98:
                self.go_back(name)
            case _ if self.loaded:
                key = self.random.choice(sorted(self.loaded))
                if key in self.residency.here.loaded and not self.ample:
                    del self.loaded[key]
                    self.tell(e.Crashed(key, "segfault"))

    def go_back(self, name: str) -> None:
        versions = self.residency.here.versions
        track, serving = versions.tracks.get(name), versions.version(versions.serving(name))
        if serving and serving != self.stores[name].newest:
            if track is not None and track.previous and not track.back:
                self.back[name] = serving, versions.version(track.previous)
            self.tell(e.RolledBack(name, serving))

    def settle(self) -> None:
        """Good artifacts everywhere, time for all pauses, and requests for all names."""
        self.away = 0.0
        for name, store in self.stores.items():
            store.newest = f"{name}.good"
        for _ in range(4):
            self.play(self.now + 700.0)
            self.look()
            for name in self.stores:
                self.invoke(name)
        self.play(self.now + 700.0)


def play(seed: int) -> World:
    world = World(seed)
    for name in world.stores:
        world.invoke(name)
    world.play(60.0)
    for _ in range(250):
        world.stir()
        world.play(world.now + world.random.expovariate(4.0))
    world.settle()
    assert len(world.by) + len(world.refused) == world.requests, "one end for every request"
    for name, store in world.stores.items():
        newest = [world.invoke(name) for _ in range(2)][-1]
        world.play(world.now + 700.0)
        assert newest not in world.refused, world.refused[newest]
        assert world.by[newest] == store.newest, name
    assert not world.open
    assert world.residency.memory.held.keys() == world.loaded.keys()
    assert world.residency.disk.held.keys() == world.disk.keys()
    kept = Counter(map(name_of, world.disk))
    assert all(count <= 2 for count in kept.values()), kept
    return world


@pytest.mark.parametrize("seed", range(12))
def test_every_request_is_answered_by_one_version_that_was_not_rejected(seed: int) -> None:
    """Whatever happens to the store, the newest good version serves in the end."""
    assert play(seed).orders["Forward"] > 100


if __name__ == "__main__":
    totals = Counter[str]()
    for chosen in range(int(sys.argv[1])):
        try:
            totals += play(chosen).orders
        except BaseException:
            print(f"seed {chosen}")
            raise
    print(dict(totals))
