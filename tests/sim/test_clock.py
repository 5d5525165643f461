"""Jobs that share a capacity, against sums done by hand."""

from __future__ import annotations

import pytest

from modelplex.sim.clock import Clock, Share


class Ends:
    """When each job ended."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}

    def note(self, job: str, now: float) -> None:
        self.at[job] = now


def play(clock: Clock) -> None:
    while clock.heap:
        clock.step()


def test_things_happen_in_order_of_time_and_then_of_asking() -> None:
    clock, told = Clock(), []
    for when, what in ((2.0, "c"), (1.0, "a"), (1.0, "b")):
        clock.at(when, lambda what, now: told.append((what, now)), what)
    play(clock)
    assert told == [("a", 1.0), ("b", 1.0), ("c", 2.0)]


def test_fewer_jobs_than_vcpus_do_not_slow_each_other_down() -> None:
    clock, ends = Clock(), Ends()
    share = Share(clock, capacity=2.0, each_max=1.0)
    share.begin(3.0, ends.note, "long", 0.0)
    share.begin(1.0, ends.note, "short", 0.0)
    play(clock)
    assert ends.at == {"short": 1.0, "long": 3.0}


def test_more_jobs_share_what_there_is() -> None:
    """10 and 10 bytes at 1 byte a second, the second one from second 4 on: 16 and 20."""
    clock, ends = Clock(), Ends()
    share = Share(clock, capacity=1.0)
    share.begin(10.0, ends.note, "first", 0.0)
    clock.at(4.0, lambda job, now: share.begin(10.0, ends.note, job, now), "second")
    play(clock)
    assert ends.at == pytest.approx({"first": 16.0, "second": 20.0})


def test_one_that_is_removed_leaves_its_part_to_the_others() -> None:
    clock, ends = Clock(), Ends()
    share = Share(clock, capacity=1.0)
    for job in ("stays", "goes"):
        share.begin(10.0, ends.note, job, 0.0)
    clock.at(10.0, share.remove, "goes")
    play(clock)
    assert ends.at == pytest.approx({"stays": 15.0})
