"""Bytes promised to models out of a fixed amount."""

from __future__ import annotations

import pytest

from modelplex.core.budget import Budget


def test_what_leaves_counts_as_missing_no_more() -> None:
    """It is not free yet, but nobody else has to go for it."""
    budget = Budget(100)
    budget.reserve("a", 60)
    budget.reserve("b", 30)
    assert (budget.free_bytes, budget.missing_bytes(50)) == (10, 40)
    budget.depart("b")
    assert (budget.free_bytes, budget.missing_bytes(50)) == (10, 10)
    budget.release("b")
    assert (budget.free_bytes, budget.missing_bytes(50)) == (40, 10)


def test_a_reservation_is_replaced_by_what_was_measured() -> None:
    """Also by more than there is: what is used is a fact."""
    budget = Budget(100)
    budget.reserve("a", 60)
    budget.reserve("a", 110)
    assert repr(budget) == "<Budget 110 of 100 bytes, 1 holders>"
    assert (budget.of("a"), budget.of("b"), budget.free_bytes) == (110, 0, -10)


def test_wrong_sums_are_noticed() -> None:
    """The check compares them with what every holder has."""
    budget = Budget(100)
    budget.reserve("a", 60)
    budget.check()
    budget.used_bytes = 50
    with pytest.raises(AssertionError, match="50 of 100 bytes"):
        budget.check()
