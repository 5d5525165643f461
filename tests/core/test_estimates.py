"""When a refused client is told to come back."""

from __future__ import annotations

from dataclasses import replace

from modelplex.core.events import Action, Answered, Fact, Fetched, Invoked, Loaded, Reject, Tick
from modelplex.core.limits import Limits
from modelplex.core.residency import Residency

LIMITS = Limits(
    memory_bytes=100,
    disk_bytes=10_000,
    fetches_max=1,
    model_ready_timeout_s=2.0,
    queue_per_model_max=2,
    hot_wait_s=0.0,
)


def tell(here: Residency, *facts: Fact, now: float) -> list[Action]:
    orders = []
    for fact in facts:
        orders += here.handle(fact, now)
        here.check()
    return orders


def experienced(limits: Limits = LIMITS) -> Residency:
    """An instance on which a fetch took 10 s, a load 20 s and an answer 4 s."""
    here = Residency(replace(limits, model_ready_timeout_s=1e6))
    tell(here, Invoked(1, "known"), now=100.0)
    tell(here, Fetched("known", 10), now=110.0)
    tell(here, Loaded("known", 60), now=130.0)
    tell(here, Answered(1), now=134.0)
    here.here.requests.ready_timeout_s = limits.model_ready_timeout_s
    return here


def refused(orders: list[Action]) -> list[tuple[int, float]]:
    return [(o.request, o.retry_after_s) for o in orders if isinstance(o, Reject)]


def test_not_ready_says_when_it_will_be() -> None:
    """What is left of the fetch and the load; behind others in line, theirs too."""
    here = experienced()
    tell(here, Invoked(2, "a"), Invoked(3, "b"), Invoked(4, "c"), now=200.0)
    [a, b, c] = refused(tell(here, Tick(), now=202.0))
    assert a == (2, 8.0 + 20.0)
    assert b == (3, 10.0 + 20.0)
    assert c == (4, 10.0 + 10.0 + 20.0)


def test_a_load_under_way_has_its_rest_to_go() -> None:
    """Never less than a second, however late it is."""
    here = experienced(replace(LIMITS, memory_bytes=1000))
    tell(here, Invoked(2, "a"), Fetched("a", 10), now=200.0)
    assert refused(tell(here, Tick(), now=202.0)) == [(2, 18.0)]
    tell(here, Invoked(3, "a"), now=228.0)
    assert refused(tell(here, Tick(), now=230.0)) == [(3, 1.0)]


def test_a_full_queue_says_when_half_of_it_is_done() -> None:
    """At four seconds an answer."""
    here = experienced()
    tell(here, Invoked(2, "known"), Invoked(3, "known"), Invoked(4, "known"), now=200.0)
    assert refused(tell(here, Invoked(5, "known"), now=200.0)) == [(5, 4.0)]


def test_a_full_instance_says_when_it_is_calmer() -> None:
    """All of its waiting requests, as many at once as it works on."""
    here = experienced(replace(LIMITS, queue_max=2, answers_max=1, queue_per_model_max=9))
    tell(here, Invoked(2, "known"), Invoked(3, "known"), Invoked(4, "other"), now=200.0)
    assert refused(tell(here, Invoked(5, "new"), now=200.0)) == [(5, 4.0)]


def test_nobody_is_sent_away_for_longer_than_a_load_may_take() -> None:
    """Whatever was measured."""
    here = experienced()
    here.here.past.load_s = 1e9
    tell(here, Invoked(2, "a"), now=200.0)
    assert refused(tell(here, Tick(), now=202.0)) == [(2, 360.0)]
