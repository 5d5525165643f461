"""Evicting with the future known."""

from __future__ import annotations

import math

import pytest

from modelplex.core.limits import Limits
from modelplex.core.usage import Usage
from modelplex.sim.oracle import Future, Oracle, cost_bound_s, enlighten
from modelplex.sim.parts import Make
from modelplex.sim.population import MIB, Invented, Kind
from modelplex.sim.world import Fleet, World

FUTURE = Future([(1.0, "soon"), (2.0, "late"), (3.0, "never"), (5.0, "soon"), (30.0, "late")])


def test_the_future_is_what_comes_after_now() -> None:
    """The present request is none that comes."""
    assert FUTURE.next_use("soon", 0.0) == 1.0
    assert FUTURE.next_use("soon", 1.0) == 5.0
    assert FUTURE.next_use("never", 3.0) == math.inf
    assert FUTURE.next_use("unknown", 0.0) == math.inf


def test_the_furthest_goes_first_by_size_and_cost() -> None:
    """Ten times the cost is worth ten times the distance."""
    oracle = Oracle(FUTURE)
    oracle.used("never", Usage(last_at=3.0), 1, 1.0)
    soon, late, never = (oracle.score(name, Usage(), 1, 1.0) for name in ("soon", "late", "never"))
    assert never < late < soon
    assert oracle.score("late", Usage(), 1, 100.0) > soon
    assert oracle.score("soon", Usage(), 100, 1.0) < late


def test_scores_are_void_after_a_while() -> None:
    """Not at every request, since all have to be scored anew then."""
    oracle = Oracle(FUTURE)
    for number in range(64):
        oracle.score(f"m{number}", Usage(), 1, 1.0)
    void = []
    for number in range(6):
        void.append(oracle.used("late", Usage(last_at=4.0 + number), 1, 1.0))
        oracle.evicted(f"m{number}", 0.0, 64)
    assert void == [False, False, True, False, True, False]


@pytest.mark.parametrize(
    ("capacity", "bound"),
    [
        (1, 3.5),  # room for one, six requests long: 'a' twice, and half of what 'b' would take
        (2, 3.0),
        (3, 3.0),  # the first request of each is always paid
    ],
)
def test_the_bound_takes_the_dearest_spans_that_fit(capacity: int, bound: float) -> None:
    """a b a c a b, each of one byte and one second; 'b' is 4 requests apart."""
    arrivals = [(float(at), model) for at, model in enumerate([0, 1, 0, 2, 0, 1])]
    assert cost_bound_s(arrivals, [1, 1, 1], [1.0, 1.0, 1.0], capacity) == pytest.approx(bound)


def test_in_a_world_it_loads_less_than_lru_and_no_less_than_possible() -> None:
    """A loop that is larger than the memory, of which LRU never finds anything."""
    models = Invented([Kind(30, 10 * MIB, load_s=0.1)], seed=1)
    arrivals = [(number * 1.0, number % 30) for number in range(600)]
    future = Future((at, models.name(model)) for at, model in arrivals)
    memory = 20 * models.truth(0).memory_bytes
    limits = Limits(memory_bytes=memory, disk_bytes=100 * memory, policy="lru")
    fleet = Fleet(Make(limits, vcpus=2))
    lru = World(models, iter(arrivals), fleet).run()
    oracle = World(models, iter(arrivals), fleet, prepare=lambda r: enlighten(r, future)).run()
    cost = models.truth(0).load_s
    bound = cost_bound_s(arrivals, [models.truth(0).memory_bytes] * 30, [cost] * 30, memory)
    assert lru.warm == 0.0
    assert oracle.loads < 0.6 * lru.loads
    assert oracle.loads * cost >= bound
