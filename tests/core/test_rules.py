"""What the owner's rules do to models, those here and those that come."""

from __future__ import annotations

import pytest

from modelplex.core.events import (
    Action,
    Answered,
    Configured,
    Fact,
    Fetch,
    FetchFailed,
    Invoked,
    Load,
    Loaded,
    Measured,
    Reason,
    Recovered,
    Refusal,
    Reject,
    Tick,
    Unload,
)
from modelplex.core.limits import Limits
from modelplex.core.residency import Residency
from modelplex.core.rules import DEFAULT, Rule, rule_of

LIMITS = Limits(memory_bytes=100, disk_bytes=1000, policy="lru", tenure_max_s=0.0)


@pytest.fixture
def here() -> Residency:
    return Residency(LIMITS)


def tell(here: Residency, *facts: Fact, now: float = 1.0) -> list[Action]:
    orders = []
    for fact in facts:
        orders += here.handle(fact, now)
        here.check()
    return orders


def load(here: Residency, model: str, request: int, now: float) -> None:
    tell(here, Recovered(model, 10), Invoked(request, model), now=now)
    tell(here, Loaded(model, 30), Answered(request), now=now)


def test_the_first_rule_that_matches_counts() -> None:
    """And none is the default."""
    rules = (Rule("a*", weight=2.0), Rule("*b"))
    assert [rule_of(rules, name) for name in ("ab", "b", "c")] == [*rules, DEFAULT]
    assert [rule.is_name for rule in (Rule("a/b.tar.gz"), Rule("a*"), Rule("[ab]"))] == [
        True,
        False,
        False,
    ]


def test_a_weight_is_above_nothing() -> None:
    """Else a model would never have a turn."""
    with pytest.raises(ValueError, match="weight of a is 0; it has to be above 0"):
        Rule("a", weight=0)


def test_a_pinned_model_comes_unasked_and_stays(here: Residency) -> None:
    """By its name even if it was never here; by a pattern if it is."""
    tell(here, Recovered("here-too", 10))
    rules = Rule("named", pinned=True), Rule("here-*", pinned=True)
    orders = tell(here, Configured(rules))
    assert [(type(order), order.model) for order in orders if isinstance(order, Load | Fetch)] == [
        (Fetch, "named"),
        (Load, "here-too"),
    ]
    tell(here, Loaded("here-too", 90), FetchFailed("named", "gone", passing=True), now=2.0)
    assert tell(here, Recovered("c", 10), Invoked(1, "c"), now=3.0)[0] == Load("c", 10)


def test_what_is_not_pinned_any_more_may_go(here: Residency) -> None:
    """Rules replace all earlier ones."""
    load(here, "a", 1, now=1.0)
    tell(here, Configured((Rule("*", pinned=True),)), Measured("a", 90), now=2.0)
    tell(here, Configured(()), Recovered("b", 60), now=3.0)
    assert tell(here, Invoked(2, "b"), now=4.0) == [Unload("a", Reason.MEMORY, "b")]


def test_names_that_only_a_pattern_pins_are_not_remembered(here: Residency) -> None:
    """A million made-up names leave nothing behind."""
    tell(here, Configured((Rule("*", pinned=True),)))
    for request in range(5):
        name = f"made-up-{request}"
        tell(here, Invoked(request, name), FetchFailed(name, "no such key", passing=True))
    assert not here.here.models
    assert not here.here.pinned


def test_a_model_stays_for_its_least_time(here: Residency) -> None:
    """Even if another has to wait; then it goes."""
    tell(here, Configured((Rule("a", residency_min_s=30.0), Rule("b", residency_min_s=20.0))))
    load(here, "a", 1, now=1.0)
    load(here, "b", 2, now=2.0)
    tell(here, Measured("a", 50), Measured("b", 50), now=3.0)
    assert tell(here, Recovered("c", 10), Invoked(3, "c"), now=3.0) == []
    assert here.next_deadline(3.0) == 22.0
    assert tell(here, Tick(), now=22.0) == [Unload("b", Reason.MEMORY, "c")]


def test_over_the_budget_nobody_is_kept(here: Residency) -> None:
    """The machine's memory is no matter of wishes."""
    tell(here, Configured((Rule("a", residency_min_s=30.0),)))
    load(here, "a", 1, now=1.0)
    assert tell(here, Measured("a", 120), now=2.0) == [Unload("a", Reason.OVER_BUDGET)]


def test_a_model_has_a_queue_of_its_own_length(here: Residency) -> None:
    """Shorter or longer than that of the others."""
    tell(here, Configured((Rule("a", queue_max=1),)))
    tell(here, Invoked(1, "a"))
    assert tell(here, Invoked(2, "a")) == [Reject(2, Refusal.QUEUE_FULL, None, 1.0)]
    assert tell(here, Invoked(3, "b"), Invoked(4, "b"), Invoked(5, "b"))[1:] == []
