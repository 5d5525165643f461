"""Counts of the kernel, per answer."""

from __future__ import annotations

from benchmarks.path import costs
from benchmarks.path.costs import Cost, Spent


def test_a_thread_that_began_counts_whole_and_one_that_ended_not_at_all() -> None:
    before = {"server": {1: Spent(5_000, 1), 2: Spent(9_000, 9)}}
    after = {"server": {1: Spent(25_000, 3), 3: Spent(10_000, 2)}}
    assert costs.costs(before, after, answers=10) == {"server": Cost(3.0, 0.4)}


def test_what_perf_could_not_count_is_left_out() -> None:
    report = "# started\n120;;raw_syscalls:sys_enter;99;100.00;;\n<not counted>;;probe:x;0;0.00;;\n"
    assert costs.counts(report) == {"raw_syscalls:sys_enter": 120}
