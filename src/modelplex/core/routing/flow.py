"""Work that comes in, per second: what is longer ago counts for less."""

from __future__ import annotations

from math import exp


class Flow:
    """A sum in which everything loses 63 % of its weight in every window."""

    __slots__ = ("_at", "_sum", "_window_s")

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._sum = 0.0
        self._at = 0.0

    def add(self, work_s: float, now: float) -> None:
        """So many seconds of work have come in."""
        passed_s = now - self._at
        if passed_s > 0:
            self._sum *= exp(-passed_s / self._window_s)
            self._at = now
        self._sum += work_s

    def rate(self, now: float) -> float:
        """Seconds of work per second."""
        return self._left(now) / self._window_s

    def join(self, other: Flow) -> None:
        """What has come in there has come in here."""
        self.add(other._left(self._at), max(self._at, other._at))

    def _left(self, now: float) -> float:
        passed_s = now - self._at
        return self._sum * exp(-passed_s / self._window_s) if passed_s > 0 else self._sum
