"""Work that comes in, per second: what is longer ago counts for less."""

from __future__ import annotations

from math import exp


class Flow:
    """A sum in which everything loses 63 % of its weight in every window."""

    __slots__ = ("_at", "_sum_s", "_window_s")

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._sum_s = 0.0
        self._at = 0.0

    def add(self, work_s: float, now: float) -> float:
        """So many seconds of work have come in; the new rate."""
        window_s = self._window_s
        if now > self._at:
            self._sum_s *= exp((self._at - now) / window_s)
            self._at = now
        self._sum_s += work_s
        return self._sum_s / window_s

    def rate(self, now: float) -> float:
        """Seconds of work per second."""
        window_s = self._window_s
        if now > self._at:
            return self._sum_s * exp((self._at - now) / window_s) / window_s
        return self._sum_s / window_s

    def last(self) -> float:
        """The rate as of the last addition."""
        return self._sum_s / self._window_s

    def set(self, rate: float, now: float) -> None:
        """Somebody who sees more of it says that this is the rate now."""
        self._sum_s = rate * self._window_s
        self._at = now
