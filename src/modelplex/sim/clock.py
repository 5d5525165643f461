"""Time in a simulated world, and work that several do at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any

Happen = Callable[[Any, float], None]  # what happens, to what, and when


class Clock:
    """What is to happen, in order of time; at the same time, in order of asking."""

    __slots__ = ("count", "heap", "now")

    def __init__(self) -> None:
        self.now = 0.0
        self.heap: list[tuple[float, int, Happen, Any]] = []
        self.count = 0

    def at(self, when: float, happen: Happen, what: Any) -> None:
        """Let something happen, not before now."""
        self.count += 1
        heappush(self.heap, (when, self.count, happen, what))

    def step(self) -> None:
        """Go to the next moment at which something happens, and let it."""
        self.now, _, happen, what = heappop(self.heap)
        happen(what, self.now)


class Share:
    """Jobs that share a capacity equally: handlers and loads the vCPUs, fetches the network.

    Each goes at `capacity / jobs`, at most at `each_max`, in units of work per second. `level` is
    the work that a job would have done that has been here all the time; a job is done when the
    level has risen by its work. So a change of speed changes no job's place.
    """

    __slots__ = (
        "_armed",
        "_clock",
        "_each_max",
        "_jobs",
        "_turn",
        "at",
        "capacity",
        "level",
        "speed",
    )

    def __init__(self, clock: Clock, capacity: float, each_max: float = math.inf) -> None:
        self._clock = clock
        self.capacity = capacity
        self._each_max = each_max
        self.level = 0.0
        self.at = 0.0  # when the level was last right
        self.speed = 0.0  # of each job, in units of work per second
        self._jobs: list[tuple[float, int, Happen, Any]] = []
        self._armed = 0  # the job that the alarm is for
        self._turn = 0  # of the alarm: older ones do not count

    def __len__(self) -> int:
        return len(self._jobs)

    def begin(self, work: float, done: Happen, what: Any, now: float) -> None:
        """Add a job; `done` happens to `what` at its end."""
        self._rise(now)
        self._clock.count += 1
        heappush(self._jobs, (self.level + work, self._clock.count, done, what))
        self._arm(now)

    def remove(self, what: Any, now: float) -> None:
        """Take out a job that is given up, if it is here."""
        self._rise(now)
        self._jobs = [job for job in self._jobs if job[3] is not what]
        heapify(self._jobs)
        self._arm(now)

    def _rise(self, now: float) -> None:
        if self._jobs:
            self.level += (now - self.at) * self.speed
        else:
            self.level = 0.0  # a small number is an exact one
        self.at = now

    def _arm(self, now: float) -> None:
        """See to it that the next job's end is noticed, unless it is already."""
        jobs = self._jobs
        if not jobs:
            self._armed = 0
            self._turn += 1
            return
        speed = min(self.capacity / len(jobs), self._each_max)
        end, number, _, _ = jobs[0]
        if number == self._armed and speed == self.speed:
            return
        self._armed, self.speed = number, speed
        self._turn += 1
        self._clock.at(now + max(0.0, end - self.level) / speed, self._ring, self._turn)

    def _ring(self, turn: int, now: float) -> None:
        if turn != self._turn:
            return
        self._rise(now)
        end, _, done, what = heappop(self._jobs)
        self.level = max(self.level, end)  # the clock may have been rounded
        self._armed = 0
        self._arm(now)
        done(what, now)
