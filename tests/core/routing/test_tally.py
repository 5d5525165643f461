"""What an instance says of itself with every answer."""

from __future__ import annotations

import pytest

from modelplex.core.routing.tally import Tally


def test_it_says_what_a_gateway_that_carried_everything_would_count() -> None:
    """In flight, plus work per second; of the model its own work alone."""
    tally = Tally(window_s=2.0)
    tally.came("m", 0.0)
    assert tally.left("m", 0.5) == (0.0, 0.0)  # how long it takes is known only now
    tally.came("m", 1.0)
    tally.came("other", 1.0)
    assert tally.left("m", 0.5) == pytest.approx((1.25, 0.25))  # the other one, and 0.5 s in 2 s
    assert tally.left("other", 0.0) == pytest.approx((0.25, 0.0))


def test_old_work_counts_less() -> None:
    """63 % less after a window, and a handler's time follows what it takes lately."""
    tally = Tally(window_s=2.0)
    for now in (0.0, 1.0, 3.0):
        tally.came("m", now)
        told = tally.left("m", 1.0)
    assert told.erlangs == pytest.approx(0.5 * (1 + 1 / 2.718281828))
    tally.came("m", 3.0)
    tally.left("m", 6.0)
    tally.came("m", 300.0)
    assert tally.left("m", 1.0).erlangs == pytest.approx(1.0)  # 0.2 of the way from 1 s to 6 s


def test_the_models_longest_not_asked_for_are_forgotten() -> None:
    """What is in flight is counted all the same."""
    tally = Tally(window_s=2.0, models_max=2)
    for number in range(5):
        tally.came(f"m{number}", 1.0)
    assert len(tally._models) == 2
    for number in range(5):
        told = tally.left(f"m{number}", 0.1)
    assert told.load == 0.0
