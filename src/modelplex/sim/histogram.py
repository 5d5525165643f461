"""How long things took: any number of durations in a fixed amount of memory."""

from __future__ import annotations

import math
from array import array

LEAST_S = 1e-4  # what is shorter counts as nothing
MOST_S = 1e5
_STEP = 1.02  # each bucket ends so much above the one before: quantiles are 1 % off at most
_SCALE = 1 / math.log(_STEP)
_BUCKETS = int(math.log(MOST_S / LEAST_S) * _SCALE) + 2


class Histogram:
    """Counts of durations in seconds, in buckets that grow with them."""

    __slots__ = ("_buckets", "count", "most", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.most = 0.0
        self._buckets = array("Q", bytes(8 * _BUCKETS))

    def add(self, seconds: float) -> None:
        """One more duration."""
        self.count += 1
        if seconds < LEAST_S:
            self._buckets[0] += 1
            return
        self.total += seconds
        self.most = max(self.most, seconds)
        self._buckets[min(int(math.log(seconds / LEAST_S) * _SCALE) + 1, _BUCKETS - 1)] += 1

    @property
    def mean(self) -> float:
        """0.0 of nothing."""
        return self.total / self.count if self.count else 0.0

    def quantile(self, share: float) -> float:
        """What this share of the durations does not exceed; 0.0 of nothing."""
        left = math.ceil(share * self.count)
        for bucket, number in enumerate(self._buckets):
            left -= number
            if number and left <= 0:
                middle = LEAST_S * _STEP ** (bucket - 0.5)
                return min(middle, self.most) if bucket else 0.0
        return 0.0
