"""Queues in time: who may wait, how long, and what one flooded model leaves to the others."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelplex.core.events import (
    Action,
    Answered,
    Configured,
    Fact,
    Forward,
    Invoked,
    Loaded,
    Recovered,
    Refusal,
    Reject,
    Tick,
)
from modelplex.core.limits import Limits
from modelplex.core.overload import places
from modelplex.core.residency import Residency
from modelplex.core.rules import Rule
from modelplex.sim.parts import Make
from modelplex.sim.population import Invented, Kind
from modelplex.sim.statistics import Report
from modelplex.sim.traffic import Stream
from modelplex.sim.world import Fleet, World

LIMITS = Limits(memory_bytes=1000, disk_bytes=1000)


class Instance:
    """Loaded models whose answers have taken `handle_s` so far."""

    def __init__(self, limits: Limits, handle_s: float, *models: str) -> None:
        self.residency = Residency(limits)
        self.numbers = count(1)
        self.now = 1.0
        for model in models:
            self.tell(Recovered(model, 1))
            request, _ = self.invoke(model)
            self.tell(Loaded(model, 1))
            self.now += handle_s
            self.tell(Answered(request))

    def tell(self, fact: Fact) -> list[Action]:
        orders = self.residency.handle(fact, self.now)
        self.residency.check()
        return orders

    def invoke(self, model: str) -> tuple[int, list[Action]]:
        request = next(self.numbers)
        return request, self.tell(Invoked(request, model))

    def fill(self, model: str, tries: int = 5000) -> int:
        """Ask until a request is refused; how many were not."""
        for taken in range(tries):
            _, orders = self.invoke(model)
            if any(isinstance(order, Reject) for order in orders):
                return taken
        return tries

    def waiting(self, model: str) -> int:
        return len(self.residency.here.models[model].queue)


# -- how many -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("handle_s", "concurrency", "expected"),
    [
        (0.0, 1, 5000.0),
        (0.0001, 1, 5000.0),
        (0.001, 1, 2000.0),
        (0.05, 1, 100.0),
        (2.0, 1, 15.0),
        (2.0, 8, 100.0),
        (60.0, 1, 0.5),
    ],
)
def test_slow_models_have_short_queues(handle_s: float, concurrency: int, expected: float) -> None:
    """Half a minute's worth, two seconds' worth, or as many as MMS has."""
    assert places(handle_s, concurrency, 30.0, 5000) == expected


def test_whatever_a_model_takes_one_request_may_wait_for_it() -> None:
    """Its worker is not idle while somebody asks."""
    assert Instance(LIMITS, 100.0, "a").fill("a") == 1 + 1


def test_a_quick_model_whose_queue_was_full_by_count_is_overloaded_too() -> None:
    """A tenth of fifty."""
    instance = Instance(replace(LIMITS, queue_per_model_max=50), 0.0005, "a")
    assert instance.fill("a") == 1 + 50
    while instance.waiting("a") > 2:
        instance.tell(Answered(min(instance.residency.here.requests.forwarded)))
    assert instance.fill("a") == 3


# -- who is let in --------------------------------------------------------------------------------


def test_who_would_wait_for_too_long_is_refused_at_once() -> None:
    """Two seconds each: one at work, fifteen waiting, and no sixteenth."""
    instance = Instance(LIMITS, 2.0, "slow")
    assert instance.fill("slow") == 16
    _, orders = instance.invoke("slow")
    [refused] = orders
    assert isinstance(refused, Reject)
    assert refused.refusal is Refusal.OVERLOADED
    assert refused.retry_after_s == 15.0  # half of those that wait


def test_a_full_queue_is_short_until_it_has_run_empty() -> None:
    """A tenth of fifteen places is one and a half."""
    instance = Instance(LIMITS, 2.0, "slow")
    instance.fill("slow")
    for left in range(14, 1, -1):
        instance.now += 2.0
        instance.tell(Answered(min(instance.residency.here.requests.forwarded)))
        assert instance.waiting("slow") == left
        assert instance.fill("slow", 1) == 0, "it is still as full as it was"
    for _ in range(2):
        instance.now += 2.0
        instance.tell(Answered(min(instance.residency.here.requests.forwarded)))
    assert instance.waiting("slow") == 0
    assert instance.fill("slow") == 15


def test_an_answer_that_takes_longer_than_expected_refuses_those_behind_it() -> None:
    """Each after its own half a minute; and it is the last they hear."""
    instance = Instance(LIMITS, 0.1, "stuck")
    began = instance.now
    hanging, _ = instance.invoke("stuck")
    first, _ = instance.invoke("stuck")
    instance.now += 5.0
    second, _ = instance.invoke("stuck")
    assert instance.residency.next_deadline(instance.now) == began + 30.0
    instance.now = began + 30.0
    [refused] = instance.tell(Tick())
    assert isinstance(refused, Reject)
    assert (refused.request, refused.refusal) == (first, Refusal.OVERLOADED)
    assert instance.residency.next_deadline(instance.now) == began + 35.0
    assert instance.tell(Answered(hanging)) == [Forward(second, "stuck")]


def test_the_time_counts_from_when_the_worker_was_there() -> None:
    """Who waited a minute for a load is not refused for it when the model is ready."""
    instance = Instance(replace(LIMITS, queue_wait_max_s=5.0), 0.1)
    instance.tell(Recovered("cold", 1))
    running, _ = instance.invoke("cold")
    queued, _ = instance.invoke("cold")
    instance.now += 59.0
    assert instance.tell(Loaded("cold", 1)) == [Forward(running, "cold")]
    instance.now += 4.9
    assert instance.tell(Tick()) == []
    assert instance.tell(Answered(running)) == [Forward(queued, "cold")]


def test_a_refused_queue_leaves_no_turn_behind() -> None:
    """Nobody waits for the model any more."""
    instance = Instance(replace(LIMITS, answers_max=1), 0.1, "a", "b")
    running, _ = instance.invoke("a")
    instance.invoke("b")
    instance.now += 30.0
    [refused] = instance.tell(Tick())
    assert isinstance(refused, Reject)
    assert instance.tell(Answered(running)) == []


# -- what is left for others ----------------------------------------------------------------------


def test_a_flood_leaves_places_to_models_that_have_none() -> None:
    """It takes half of the instance's queue, the next one half of the rest."""
    instance = Instance(replace(LIMITS, queue_max=64), 0.001, "a", "b", "c")
    taken = {name: instance.fill(name) for name in "abc"}
    assert taken == {"a": 1 + 32, "b": 1 + 16, "c": 1 + 8}


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(st.lists(st.sampled_from("aaaaabcdefgh"), max_size=60), st.integers(2, 20))
def test_a_model_without_a_place_gets_one_while_there_is_one(asked: list[str], most: int) -> None:
    """And nobody has more than half of them all."""
    instance = Instance(replace(LIMITS, queue_max=most), 0.001, *"abcdefgh")
    for name in asked:
        had, left = instance.waiting(name), most - len(instance.residency.here.requests.waiting)
        _, orders = instance.invoke(name)
        if had == 0 < left:
            assert not any(isinstance(order, Reject) for order in orders)
        assert instance.waiting(name) <= (most + 1) // 2


def test_an_owner_may_have_less() -> None:
    """The rule is a number of requests."""
    instance = Instance(LIMITS, 0.001, "a")
    instance.tell(Configured((Rule("a", queue_max=7),)))
    assert instance.fill("a") == 1 + 7


# -- all together, simulated ----------------------------------------------------------------------


def played(rate: float, until_s: float, limits: Limits = LIMITS) -> Report:
    """One model of 50 ms is asked for at `rate` for 20 s, then ten times a second."""
    kind = Kind(1, size_bytes=1, process_bytes=0, load_s=0.01, handle_s=0.05)
    streams = [
        Stream("hot", rate_per_s=rate, end_s=20.0),
        Stream("hot", rate_per_s=10.0, start_s=20.0, end_s=until_s),
    ]
    arrivals = [a for n, stream in enumerate(streams) for a in stream.arrivals(1, str(n))]
    make = Make(limits, vcpus=1.0)
    return World(Invented([kind], 1), iter(arrivals), Fleet(make, 1), seed=1, window_s=5.0).run()


def test_overload_costs_no_work_and_is_over_when_it_is_over() -> None:
    """At three times of what it can, the worker is never idle; a little later all is as before."""
    report = played(60.0, 40.0)
    answered = Counter(report.outcomes)
    refused = answered.pop("overloaded")
    assert refused == pytest.approx(1200 - 400, rel=0.15)
    assert report.total_p99_s < 6.0  # a queue of a hundred
    during, after = report.windows[2:4], report.windows[5:8]
    assert all(window.outcomes["warm"] >= 0.98 * 5.0 / 0.05 for window in during)
    assert all(window.wait_p99_s < 1.0 for window in after)
    assert not any(window.outcomes["overloaded"] for window in after)


def test_without_overload_nobody_is_refused() -> None:
    """At nine tenths of what it can."""
    assert "overloaded" not in played(18.0, 30.0).outcomes
