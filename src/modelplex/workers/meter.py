"""Measures what processes take, within a share of one core.

The kernel's exact account of a process walks its page tables: 0.5 ms for a small one, 25 ms for
each GiB. What has been touched or given back since the last time is known at once, and often shows
that little changed; and while there is no time for the exact account, it is a good estimate.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

PAGE_BYTES = 4096
SHARE = 0.02  # of one core, on average
BURST_S = 0.1  # of work, after a quiet while
STILL = 0.01  # of what it takes: less change than this is none
STILL_BYTES_MIN = 256 * 1024
EXACT_FOR_S = 60.0  # pages may become a process's own without its doing, when others let them go


def touched(pid: int) -> tuple[int, int]:
    """The bytes that a process has in memory, and its minor page faults; 0 if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0, 0
    return int(fields[21]) * PAGE_BYTES, int(fields[7])


class Measurable(Protocol):
    """A process of ours."""

    @property
    def pid(self) -> int: ...

    def memory_bytes(self) -> int:
        """The exact account; 0 when the process is gone."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """The exact account at a moment, and what the process had touched by then."""

    exact_bytes: int
    resident_bytes: int
    faults: int
    at: float


class Meter:
    """Remembers the last measurement of each process. For one thread."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        spent: Callable[[], float] = time.thread_time,
        touched: Callable[[int], tuple[int, int]] = touched,
    ) -> None:
        """`spent` is the time that this thread has worked, in seconds; `touched` as above."""
        self._clock = clock
        self._spent = spent
        self._touched = touched
        self._readings: weakref.WeakKeyDictionary[Measurable, _Reading] = (
            weakref.WeakKeyDictionary()
        )
        self._credit_s = BURST_S
        self._credited_at = clock()

    def memory_bytes(self, process: Measurable) -> int:
        """What the process takes; 0 when it is gone. The first time it is exact."""
        now = self._clock()
        resident, faults = self._touched(process.pid)
        last = self._readings.get(process)
        if last is None:
            return self._measure(process, resident, faults, now)
        still_bytes = max(STILL * last.exact_bytes, STILL_BYTES_MIN)
        grown = resident - last.resident_bytes
        moved = max(abs(grown), (faults - last.faults) * PAGE_BYTES)
        if resident and moved < still_bytes and now - last.at < EXACT_FOR_S:
            return last.exact_bytes + moved  # at most: little for one, and much for a thousand
        if self._credit(now) > 0:
            return self._measure(process, resident, faults, now)
        return max(0, last.exact_bytes + grown) if resident else 0

    def _measure(self, process: Measurable, resident: int, faults: int, now: float) -> int:
        began = self._spent()
        exact = process.memory_bytes()
        self._credit_s -= self._spent() - began
        self._readings[process] = _Reading(exact, resident, faults, now)
        return exact

    def _credit(self, now: float) -> float:
        """Seconds that may be spent now; below 0 where more was spent than there was."""
        self._credit_s = min(BURST_S, self._credit_s + SHARE * (now - self._credited_at))
        self._credited_at = now
        return self._credit_s
