"""Measuring processes without spending much on it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import pytest

from modelplex.workers import meter
from modelplex.workers.meter import SHARE, STILL, Meter

MIB = 1024 * 1024


@dataclass(eq=False)
class Fake:
    """A process whose exact account costs time, and the clocks that show it."""

    now: float = 0.0
    worked: float = 0.0
    cost_s: float = 0.02
    exact: int = 100 * MIB
    resident: int = 150 * MIB
    faults: int = 0
    pid: int = 1
    measured: list[float] = field(default_factory=list)

    def memory_bytes(self) -> int:
        """Counts how often it is asked."""
        self.measured.append(self.now)
        self.worked += self.cost_s
        return self.exact

    def grow(self, size: int) -> None:
        """Touch so many new bytes."""
        self.exact += size
        self.resident += size
        self.faults += size // 4096


@pytest.fixture
def fake() -> Fake:
    """One that stands still."""
    return Fake()


def meter_of(fake: Fake) -> Meter:
    """A meter that sees what the process says of itself."""
    return Meter(lambda: fake.now, lambda: fake.worked, lambda _: (fake.resident, fake.faults))


def test_what_does_not_change_is_measured_once(fake: Fake) -> None:
    """But for now and then, because others may have let go of shared pages."""
    it = meter_of(fake)
    for _ in range(30):
        assert it.memory_bytes(fake) == fake.exact
        fake.now += 1.0
    assert fake.measured == [0.0]
    fake.now = 61.0
    it.memory_bytes(fake)
    assert len(fake.measured) == 2


def test_pages_that_become_its_own_are_seen(fake: Fake) -> None:
    """Writing to shared pages changes nothing but the count of faults."""
    it = meter_of(fake)
    it.memory_bytes(fake)
    fake.exact += 10 * MIB
    fake.faults += 10 * MIB // 4096
    assert it.memory_bytes(fake) == 110 * MIB


def test_the_time_spent_is_bounded_and_growth_is_seen_all_the_same(fake: Fake) -> None:
    """A thousand seconds of a large process that changes all the time."""
    fake.cost_s = 0.5
    it = meter_of(fake)
    for _ in range(500):
        fake.now += 2.0
        fake.grow(2 * MIB)
        assert abs(it.memory_bytes(fake) - fake.exact) <= STILL * fake.exact
    assert fake.worked < SHARE * fake.now + fake.cost_s + meter.BURST_S


def test_a_process_that_is_gone_takes_nothing(fake: Fake) -> None:
    """Its credit is not the reason for that."""
    fake.cost_s = 10.0
    it = meter_of(fake)
    it.memory_bytes(fake)
    fake.resident = fake.faults = 0
    assert it.memory_bytes(fake) == 0


def test_a_real_process() -> None:
    """This one has something in memory, and has touched pages."""
    resident, faults = meter.touched(os.getpid())
    assert resident > 5 * MIB
    assert faults > 1000
    assert meter.touched(0) == (0, 0)
