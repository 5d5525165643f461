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


def test_twins_are_charged_once() -> None:
    """The charge passes on until the last one goes; each counts for its part."""
    budget = Budget(100)
    for name in "abc":
        budget.reserve(name, 30, "content")
        budget.check()
    budget.reserve("d", 30, "another")
    assert (budget.used_bytes, budget.of("a"), budget.of("b")) == (60, 30, 0)
    assert [budget.share_bytes(name) for name in "abd?"] == [10, 10, 30, 0]
    assert [list(budget.twins(name)) for name in "bd?"] == [["a", "c"], [], []]
    budget.release("a")
    budget.check()
    assert (budget.used_bytes, budget.of("b"), budget.share_bytes("c")) == (60, 30, 15)
    budget.release("b")
    budget.release("c")
    budget.check()
    assert budget.used_bytes == 30


def test_twins_free_room_only_together() -> None:
    """What leaves while a twin stays frees nothing, and nobody may count on it."""
    budget = Budget(100)
    budget.reserve("a", 60, "content")
    budget.reserve("b", 60, "content")
    budget.depart("a")
    assert (budget.leaving_bytes, budget.missing_bytes(50)) == (0, 10)
    budget.depart("b")
    assert (budget.leaving_bytes, budget.missing_bytes(50)) == (60, -50)


def test_a_holder_may_become_a_twin_and_cease_to_be_one() -> None:
    """A fetch reserves before anybody knows what will come."""
    budget = Budget(100)
    budget.reserve("a", 30, "content")
    budget.reserve("b", 50)
    budget.reserve("b", 30, "content")
    budget.check()
    assert budget.used_bytes == 30
    budget.reserve("a", 20, "news")
    budget.check()
    assert (budget.of("a"), budget.of("b"), budget.used_bytes) == (20, 30, 50)
    budget.reserve("b", 35, "content")
    budget.check()
    assert budget.used_bytes == 55


def test_a_wrong_charge_among_twins_is_noticed() -> None:
    """Two that are charged, or none, are as wrong as a wrong sum."""
    budget = Budget(100)
    budget.reserve("a", 30, "content")
    budget.reserve("b", 30, "content")
    budget.held["b"], budget.used_bytes = 30, 60
    with pytest.raises(AssertionError):
        budget.check()
