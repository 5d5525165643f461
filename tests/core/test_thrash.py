"""Loads that only hotter models could pay for, and how long a cold one may be kept waiting."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelplex.core.events import (
    Action,
    Answered,
    Fact,
    Forward,
    Invoked,
    Load,
    Loaded,
    Reason,
    Recovered,
    Tick,
    Unload,
    Unloaded,
)
from modelplex.core.limits import Limits
from modelplex.core.policies import POLICIES
from modelplex.core.residency import Residency

LIMITS = Limits(memory_bytes=100, disk_bytes=1000, policy="gdsf", hot_wait_s=2.0)


def tell(here: Residency, *facts: Fact, now: float) -> list[Action]:
    orders = []
    for fact in facts:
        orders += here.handle(fact, now)
        here.check()
    return orders


def with_hot(limits: Limits = LIMITS, load_s: float = 5.0) -> Residency:
    """All memory is a hot model's; its last two requests were at 20.0 and 20.5."""
    here = Residency(limits)
    tell(here, Recovered("hot", 10), Recovered("cold", 10), Invoked(0, "hot"), now=10.0)
    tell(here, Loaded("hot", 90), Answered(0), now=10.0 + load_s)
    for number, now in ((1, 20.0), (2, 20.5)):
        tell(here, Invoked(number, "hot"), Answered(number), now=now)
    return here


def test_a_load_that_a_hot_model_would_pay_for_waits_and_then_goes_ahead() -> None:
    """Until `hot_wait_s` after its first request."""
    here = with_hot()
    assert tell(here, Invoked(10, "cold"), now=21.0) == []
    assert here.next_deadline(21.0) == 23.0
    tell(here, Invoked(3, "hot"), Answered(3), now=22.0)
    assert tell(here, Tick(), now=23.0) == [Unload("hot", Reason.MEMORY, "cold")]


def test_it_waits_no_longer_than_the_reload_that_it_saves_would_take() -> None:
    """To leave the hot one alone must not cost more than to evict it."""
    here = with_hot(load_s=0.25)
    assert tell(here, Invoked(10, "cold"), now=21.0) == []
    assert here.next_deadline(21.0) == 21.25
    assert tell(here, Tick(), now=21.25) == [Unload("hot", Reason.MEMORY, "cold")]


def test_nobody_waits_where_nothing_is_hot() -> None:
    """A model that was not asked for twice lately is no reason."""
    here = with_hot()
    assert tell(here, Invoked(10, "cold"), now=22.5) == [Unload("hot", Reason.MEMORY, "cold")]


def test_a_model_that_has_just_come_in_goes_after_the_others() -> None:
    """Though nobody needs it now, and it ranks lower."""
    here = Residency(replace(LIMITS, policy="lru"))
    for number, (model, now) in enumerate((("a", 10.0), ("b", 20.0))):
        tell(here, Recovered(model, 10), Invoked(number, model), now=now)
        tell(here, Loaded(model, 30), Answered(number), now=now + 2.0)
    tell(here, Invoked(5, "a"), Answered(5), now=22.1)
    assert tell(here, Recovered("c", 10), Invoked(6, "c"), now=22.5) == [
        Unload("a", Reason.MEMORY, "c")
    ]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("answer_s", "load_s"), [(0.01, 0.1), (0.3, 0.1), (0.05, 3.0)])
def test_a_cold_model_waits_for_draining_and_loading_and_no_lull(
    policy: str, answer_s: float, load_s: float
) -> None:
    """One hot model at full rate and memory for one: whichever way it is ranked, the cold one waits
    for a turn or for the hot one to cool, for one answer, and for its own load.
    """
    limits = replace(LIMITS, policy=policy)
    here = with_hot(limits, load_s=load_s)
    now, number, running = 21.0, 100, 100
    tell(here, Invoked(number, "hot"), now=now)
    asked_at = now
    orders = tell(here, Invoked(1, "cold"), now=now)
    while not any(isinstance(order, Unload) for order in orders):
        now += answer_s
        number += 1
        orders = tell(here, Tick(), Invoked(number, "hot"), Answered(running), now=now)
        running = next((o.request for o in orders if isinstance(o, Forward)), running)
    assert now - asked_at <= max(limits.hot_wait_s, limits.tenure_max_s) + 2 * answer_s
    assert [type(order) for order in tell(here, Unloaded("hot"), now=now)] == [Load]
    assert tell(here, Loaded("cold", 90), now=now + load_s)[0] == Forward(1, "cold")
