"""Who has to go, and no more than needed."""

from __future__ import annotations

import pytest

from modelplex.core import room
from modelplex.core.model import Model


def chosen(sizes: list[int], needed: int) -> list[str]:
    candidates = [(Model(str(size)), size) for size in sizes]
    return [model.name for model in room.choose(candidates, needed)]


@pytest.mark.parametrize(
    ("sizes", "needed", "victims"),
    [
        ([10, 20, 30], 10, ["10"]),
        ([10, 20, 30], 30, ["10", "20"]),
        ([10, 20, 90], 100, ["10", "90"]),  # the one passed on the way that is not needed is spared
        ([10, 20, 90], 80, ["90"]),
        ([10, 20, 30], 61, []),  # not enough: nobody goes
        ([0, 10], 5, ["10"]),  # who holds nothing frees nothing
    ],
)
def test_the_first_go_as_far_as_needed(sizes: list[int], needed: int, victims: list[str]) -> None:
    """In order of the candidates, sparing those that a larger later one makes unnecessary."""
    assert chosen(sizes, needed) == victims


def test_pinned_and_idle_and_busy_models_are_told_apart() -> None:
    """Pinned ones never go, and busy ones not before their turn has ended."""
    pinned, quiet, at_work = Model("p", pinned=True), Model("i"), Model("b", turn_ends=5.0)
    at_work.in_flight.add(1)
    everyone = [pinned, quiet, at_work]
    assert list(room.idle(everyone)) == [quiet]
    assert list(room.busy(everyone, 4.9)) == []
    assert list(room.busy(everyone, 5.0)) == [at_work]
