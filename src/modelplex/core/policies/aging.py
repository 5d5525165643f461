"""A model's worth, halved for every stretch of time in which nobody asks for it."""

from __future__ import annotations

from math import log2
from zlib import crc32

from modelplex.core.policies.policy import Unwatching
from modelplex.core.policies.worth import rate
from modelplex.core.usage import Usage

HALF_LIFE_S = 600.0
FAVOUR = 0.25  # at most: as if it had been asked for 19 % more often


def score(half_life_s: float, worth: float, last_at: float) -> float:
    """The time at which a model is worth as little as one of worth 1 (2 to the 0th) is at 0.0.

    worth * 2 ** (-age / half_life) orders models at any moment as its logarithm does, and that, in
    units of the half-life and less the present time, does not change while time passes.
    """
    return last_at + half_life_s * worth


def worth_of(model: str, usage: Usage, size_bytes: int, cost_s: float) -> float:
    """Of a model at its last use, as a power of two.

    No two are worth the same. When a job asks for one model after the other, and all are alike, it
    is better that always the same ones stay than that each leaves before its turn comes again.
    """
    return log2(rate(usage, size_bytes, cost_s)) + FAVOUR * crc32(model.encode()) / 2**32


class Aging(Unwatching):
    """last use + half-life * log2(count * cost / size).

    A short half-life makes it LRU, a long one makes it cost-aware LFU.
    """

    def __init__(self, half_life_s: float = HALF_LIFE_S) -> None:
        self.half_life_s = half_life_s

    def score(self, model: str, usage: Usage, size_bytes: int, cost_s: float) -> float:
        """A moment; see `score` above."""
        return score(self.half_life_s, worth_of(model, usage, size_bytes, cost_s), usage.last_at)
