"""A model that fails again and again is left alone, and says why; a passing failure is none."""

from __future__ import annotations

import pytest

from modelplex.core import quarantine
from modelplex.core.events import (
    Action,
    Answered,
    Configured,
    Crashed,
    Fact,
    Fetch,
    FetchFailed,
    Forward,
    Invoked,
    Load,
    Loaded,
    LoadFailed,
    Recovered,
    Refusal,
    Reject,
)
from modelplex.core.limits import Limits
from modelplex.core.residency import Residency
from modelplex.core.rules import Rule

LIMITS = Limits(memory_bytes=100, disk_bytes=100, quarantine_after=2, quarantine_max_s=6.0)


@pytest.fixture
def here() -> Residency:
    return Residency(LIMITS)


def tell(here: Residency, *facts: Fact, now: float) -> list[Action]:
    orders = []
    for fact in facts:
        orders += here.handle(fact, now)
        here.check()
    return orders


def fail_twice(here: Residency, now: float) -> None:
    tell(here, Recovered("a", 10), now=now)
    for request in (1, 2):
        orders = tell(here, Invoked(request, "a"), LoadFailed("a", "bad handler"), now=now)
        assert orders[-1] == Reject(request, Refusal.FAILED, "bad handler")


def test_failures_in_a_row_close_the_door_for_longer_and_longer(here: Residency) -> None:
    """One second, two, four, and no longer than the limit; each with its reason."""
    fail_twice(here, 10.0)
    now = 10.0
    for request, pause_s in ((10, 1.0), (20, 2.0), (30, 4.0), (40, 6.0), (50, 6.0)):
        refused = Reject(request, Refusal.QUARANTINED, "bad handler", max(pause_s - 0.5, 1.0))
        assert tell(here, Invoked(request, "a"), now=now + 0.5) == [refused]
        now += pause_s
        assert [type(o) for o in tell(here, Invoked(request + 1, "a"), now=now)] == [Load]
        tell(here, LoadFailed("a", "bad handler"), now=now)


def test_one_request_is_let_through_to_see(here: Residency) -> None:
    """The others are refused until it has loaded; then the row is over."""
    fail_twice(here, 10.0)
    assert [type(o) for o in tell(here, Invoked(3, "a"), now=11.0)] == [Load]
    refused = Reject(4, Refusal.QUARANTINED, "bad handler", 1.0)
    assert tell(here, Invoked(4, "a"), now=11.5) == [refused]
    assert tell(here, Loaded("a", 20), now=12.0) == [Forward(3, "a")]
    assert here.snapshot()[0].failures == 0


def test_after_crashes_only_an_answer_ends_the_row(here: Residency) -> None:
    """A model may load well and die of every request."""
    tell(here, Recovered("a", 10), now=1.0)
    for request, now in ((1, 1.0), (2, 2.0)):
        tell(here, Invoked(request, "a"), Loaded("a", 20), now=now)
        tell(here, Invoked(request + 10, "a"), Crashed("a", "segfault"), now=now)
        tell(here, Answered(request), now=now)
        if request == 1:  # who waited got the next worker
            orders = tell(here, Loaded("a", 20), Answered(11), now=now)
            assert orders == [Forward(11, "a")]
            tell(here, Crashed("a", "segfault"), now=now)
    [row] = here.snapshot()
    assert (row.failures, row.refused_until, row.reason) == (2, 3.0, "segfault")
    assert tell(here, Invoked(20, "a"), now=2.5)[0] == Reject(
        20, Refusal.QUARANTINED, "segfault", 1.0
    )
    assert tell(here, Invoked(21, "a"), Loaded("a", 20), now=3.0)[-1] == Forward(21, "a")
    assert isinstance(tell(here, Invoked(22, "a"), now=3.0)[0], Reject)
    tell(here, Answered(21), now=3.1)
    assert tell(here, Invoked(23, "a"), now=3.2) == [Forward(23, "a")]


def test_what_passes_by_itself_does_not_count(here: Residency) -> None:
    """A model uploaded a second after ten requests for it works at once, and is not remembered."""
    for request in range(10):
        failed = FetchFailed("a", "no such key", passing=True)
        assert Reject(request, Refusal.FAILED, "no such key") in tell(
            here, Invoked(request, "a"), failed, now=1.0
        )
    assert here.snapshot() == []
    assert [type(o) for o in tell(here, Invoked(11, "a"), now=2.0)] == [Fetch]


def test_a_model_in_quarantine_is_shown_though_it_is_nowhere(here: Residency) -> None:
    """The operator asks why."""
    for request in (1, 2):
        tell(here, Invoked(request, "a"), FetchFailed("a", "broken archive"), now=5.0)
    [row] = here.snapshot()
    assert (row.model, row.state, row.failures) == ("a", "absent", 2)
    assert (row.refused_until, row.reason) == (6.0, "broken archive")


def test_a_pinned_model_that_always_crashes_is_not_reloaded_for_ever(here: Residency) -> None:
    """Twice unasked; then it is in quarantine like any other."""
    tell(here, Recovered("a", 10), Configured((Rule("a", pinned=True),)), now=1.0)
    tell(here, Loaded("a", 20), Invoked(1, "a"), now=1.0)
    assert [type(o) for o in tell(here, Crashed("a", "x"), Answered(1), now=1.0)] == [Load]
    tell(here, Loaded("a", 20), Invoked(2, "a"), now=1.0)
    assert tell(here, Crashed("a", "x"), Answered(2), now=1.0) == []


def test_the_pause_cannot_overflow() -> None:
    """However often it failed."""
    pause = quarantine.failed(None, "x", False, 0.0, LIMITS)
    for _ in range(5000):
        pause = quarantine.failed(pause, "x", False, 0.0, LIMITS)
    assert (pause.failures, pause.until) == (5001, 6.0)


def test_a_model_that_had_nothing_to_do_is_not_blamed(here: Residency) -> None:
    """Its container ended, for another model's sake: it is loaded again when it is wanted."""
    tell(here, Recovered("a", 10), Invoked(1, "a"), Loaded("a", 10), Answered(1), now=1.0)
    for request in range(2, 6):
        tell(here, Crashed("a", "the container ended", blameless=True), now=2.0)
        orders = tell(here, Invoked(request, "a"), now=2.0)
        assert [type(order) for order in orders] == [Load]
        tell(here, Loaded("a", 10), Answered(request), now=2.0)
