"""Who has to go, and no more than needed."""

from __future__ import annotations

import pytest

from modelplex.core import room
from modelplex.core.model import Model
from modelplex.core.rules import Rule


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


def test_pinned_idle_busy_and_new_models_are_told_apart() -> None:
    """Pinned ones never go, busy ones not before their turn ends, nor any that a rule keeps."""
    pinned, quiet = Model("p", pinned=True), Model("i")
    kept = Model("k", rule=Rule("*", residency_min_s=9.0), loaded_at=1.0)
    at_work, new = Model("b", tenure_ends=5.0), Model("n", tenure_ends=5.0)
    at_work.in_flight = {1: 0.0}
    everyone = [pinned, quiet, kept, at_work, new]
    early = [list(kind(everyone, 4.9)) for kind in (room.idle, room.busy, room.newcomers)]
    late = [list(kind(everyone, 5.0)) for kind in (room.idle, room.busy, room.newcomers)]
    assert early == [[quiet], [], [new]]
    assert late == [[quiet, new], [at_work], []]
    assert list(room.idle(everyone, 10.0)) == [quiet, kept, new]
