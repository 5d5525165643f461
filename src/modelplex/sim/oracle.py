"""Eviction with the future known: what the best policy could do, for comparison only.

With sizes and costs the true optimum cannot be computed for long traces. `Oracle` is Belady's rule
weighed by them, a policy that comes close; `cost_bound_s` is what nobody can go below. The optimum
lies between the two.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence

from modelplex.core.policies.worth import COST_MIN_S
from modelplex.core.residency import Residency
from modelplex.core.usage import Usage
from modelplex.sim.traffic import Arrival

STALE_SHARE = 1 / 32  # of the models that are here: after so many evictions all are scored anew


class Future:
    """When each model will be asked for."""

    def __init__(self, requests: Iterable[tuple[float, str]]) -> None:
        """Requests as time and model, in order of time."""
        self._moments: dict[str, list[float]] = {}
        for moment, model in requests:
            self._moments.setdefault(model, []).append(moment)

    def next_use(self, model: str, now: float) -> float:
        """Infinity if it is not asked for again."""
        moments = self._moments.get(model, [])
        place = bisect_right(moments, now)
        return moments[place] if place < len(moments) else math.inf


class Oracle:
    """Whose next request is furthest away goes first, by bytes held and seconds not saved.

    Its scores are distances from the present, so they are void after a while.
    """

    def __init__(self, future: Future) -> None:
        self._future = future
        self._now = 0.0
        self._here: set[str] = set()
        self._evictions = 0  # since all were scored

    def score(self, model: str, usage: Usage, size_bytes: int, cost_s: float) -> float:
        """Less, the more room it takes until it is of use, and the less that is."""
        self._here.add(model)
        away_s = self._future.next_use(model, self._now) - self._now
        return -away_s * max(size_bytes, 1) / max(cost_s, COST_MIN_S)

    def evicted(self, model: str, score: float, held_bytes: int) -> None:
        """Count it."""
        self._here.discard(model)
        self._evictions += 1

    def watches(self, model: str) -> bool:
        """All of them: they tell the time."""
        return True

    def used(self, model: str, usage: Usage, size_bytes: int, cost_s: float) -> bool:
        """Note the time; whether the scores are too old by now."""
        self._now = max(self._now, usage.last_at)
        if self._evictions <= STALE_SHARE * len(self._here):
            return False
        self._evictions = 0
        return True


def enlighten(residency: Residency, future: Future) -> None:
    """Give a residency that has done nothing yet an oracle for its memory and one for its disk."""
    residency.here.memory_ranking.policy = Oracle(future)
    residency.here.disk_ranking.policy = Oracle(future)


def cost_bound_s(
    arrivals: Sequence[Arrival],
    sizes_bytes: Sequence[int],
    costs_s: Sequence[float],
    capacity_bytes: int,
) -> float:
    """What loading costs at the very least, in seconds, whatever policy decides.

    To save a load, a model has to be kept from one request to the next: so many bytes for so long.
    All that is kept fits into capacity times time, so the dearest per byte and second are taken
    first. Nobody can do better; one may have to do worse, as at some moments more would fit than at
    others. (Berger, Beckmann, Harchol-Balter, "Practical bounds on optimal caching with variable
    object sizes", 2018.) Time is counted in requests.
    """
    last: dict[int, int] = {}
    spans: list[tuple[float, int, float]] = []  # seconds per byte and request, their product, cost
    for number, (_, model) in enumerate(arrivals):
        if model in last:
            area = sizes_bytes[model] * (number - last[model])
            spans.append((costs_s[model] / area, area, costs_s[model]))
        last[model] = number
    left = float(capacity_bytes * len(arrivals))
    cost_s = sum(costs_s[model] for _, model in arrivals)
    for _, area, cost in sorted(spans, reverse=True):
        share = min(1.0, left / area)
        cost_s -= share * cost
        left -= share * area
        if left <= 0:
            break
    return cost_s
