"""Greedy dual size frequency (Cherkasova, 1998): what a byte of room saves, in seconds."""

from __future__ import annotations

from modelplex.core.policies.policy import Unwatching
from modelplex.core.policies.worth import rate
from modelplex.core.usage import Usage


class GreedyDual(Unwatching):
    """floor + count * cost / size; the floor is the score of the last one that had to go.

    So who is not asked for again is overtaken by those who are, however dear it once was.
    """

    def __init__(self) -> None:
        self.floor = 0.0

    def score(self, model: str, usage: Usage, size_bytes: int, cost_s: float) -> float:
        """Seconds saved per byte, above what had to go."""
        return self.floor + rate(usage, size_bytes, cost_s)

    def evicted(self, model: str, score: float, held_bytes: int) -> None:
        """Those that are used from now on stand above who has gone."""
        self.floor = max(self.floor, score)
