"""Who is asked for when: streams of requests, each invented from a seed or read from a trace."""

from __future__ import annotations

import heapq
import math
from array import array
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, count
from random import Random

Arrival = tuple[float, int]  # seconds since the start, number of the model
DAY_S = 86_400.0
KINDS = ("zipf", "scan", "hot")


@dataclass(frozen=True, slots=True)
class Stream:
    """Requests at random moments, `rate_per_s` on average.

    zipf: the model of rank r is asked for in proportion to 1 / r ** skew. scan: one model after
    the other, all of them, over and over. hot: one model alone.
    """

    kind: str = "zipf"
    rate_per_s: float = 10.0
    skew: float = 1.0
    model: int = 0  # the hot one
    start_s: float = 0.0
    end_s: float = math.inf
    daily: float = 0.0  # from 0 to 1: how far the rate rises and falls within a day
    day_s: float = DAY_S  # shorter days make shorter simulations
    burst_every_s: float = 0.0  # on average; 0: none
    burst_s: float = 10.0
    burst_factor: float = 10.0  # on the rate
    shift_every_s: float = 0.0  # 0: the same models are popular for ever
    shift_share: float = 0.1  # of the ranks that then get other models

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a stream of kind {self.kind!r}: one of {', '.join(KINDS)}")
        if not self.rate_per_s > 0:
            raise ValueError(f"rate_per_s is {self.rate_per_s:g}; it has to be above 0")
        if not 0 <= self.daily <= 1:
            raise ValueError(f"daily is {self.daily:g}; it is a share, from 0 to 1")
        if self.burst_every_s and self.burst_every_s <= self.burst_s:
            raise ValueError(f"burst_every_s is {self.burst_every_s:g}, not more than burst_s")

    def arrivals(self, models: int, seed: str) -> Iterator[Arrival]:
        """The requests, in order of time, without end unless `end_s` is one."""
        choose = _choice(self, models, seed)
        return ((now, choose(now)) for now in self._moments(Random(f"{seed} moments")))

    def _moments(self, random: Random) -> Iterator[float]:
        """A Poisson process whose rate changes: candidates at the highest rate, thinned out."""
        bursts = _Bursts(self, Random(random.random()))
        highest = self.rate_per_s * (1 + self.daily)
        now = self.start_s
        plain = not self.daily and not self.burst_every_s
        while True:
            speed = 1.0 if plain else bursts.factor(now)
            step = random.expovariate(highest * speed)
            if not plain and now + step > bursts.changes_at:
                now = bursts.changes_at  # without memory: what is left is drawn at the new rate
                continue
            now += step
            if now >= self.end_s:
                return
            if not self.daily or random.random() < self._daytime(now):
                yield now

    def _daytime(self, now: float) -> float:
        """The rate, as a share of the highest of the day; a day begins at its lowest."""
        return (1 - self.daily * math.cos(math.tau * now / self.day_s)) / (1 + self.daily)


class _Bursts:
    """When the rate is multiplied: for `burst_s`, after pauses of random length."""

    def __init__(self, stream: Stream, random: Random) -> None:
        self._stream, self._random = stream, random
        self._on = True
        self.changes_at = stream.start_s
        self.factor(self.changes_at)

    def factor(self, now: float) -> float:
        """What the rate is multiplied by. `now` never goes back."""
        stream = self._stream
        if not stream.burst_every_s:
            self._on, self.changes_at = False, math.inf
        while now >= self.changes_at:
            self._on = not self._on
            pause_s = stream.burst_every_s - stream.burst_s
            length = stream.burst_s if self._on else self._random.expovariate(1 / pause_s)
            self.changes_at += length
        return stream.burst_factor if self._on else 1.0


class _Zipf:
    """Ranks by popularity, and which model has which rank at the moment.

    Ranks are scattered over the models by a permutation that needs no memory, so that popularity
    has nothing to do with the kind or the age of a model.
    """

    def __init__(self, stream: Stream, models: int, seed: str) -> None:
        self._random = Random(f"{seed} models").random
        self._sums = array("d", accumulate(rank**-stream.skew for rank in range(1, models + 1)))
        self._total = self._sums[-1]
        self._models = models
        self._factor = _coprime(models)
        self._offset = int(Random(f"{seed} ranks").random() * models)
        self._every_s = stream.shift_every_s
        self._classes = max(1, min(models, round(1 / max(stream.shift_share, 1e-6))))

    def __call__(self, now: float) -> int:
        rank = bisect(self._sums, self._random() * self._total)
        if self._every_s:
            rank = self._shifted(min(rank, self._models - 1), int(now / self._every_s))
        return (rank * self._factor + self._offset) % self._models

    def _shifted(self, rank: int, shifts: int) -> int:
        """Every `_classes`-th rank belongs to one class; with each shift, one class turns."""
        place, kind = divmod(rank, self._classes)
        turns = (shifts + self._classes - 1 - kind) // self._classes
        members = (self._models - kind + self._classes - 1) // self._classes
        return (place + turns * int(0.382 * members + 1)) % members * self._classes + kind


def _coprime(count: int) -> int:
    """A number without a common factor with `count`, about 0.618 of it."""
    factor = max(1, int(0.618 * count))
    while math.gcd(factor, count) != 1:
        factor += 1
    return factor


def _choice(stream: Stream, models: int, seed: str) -> Callable[[float], int]:
    """Which model is asked for at a moment."""
    if stream.kind == "hot":
        return lambda now: stream.model % models
    if stream.kind == "scan":
        numbers = count()
        return lambda now: next(numbers) % models
    return _Zipf(stream, models, seed)


def merge(streams: Iterable[Iterator[Arrival]]) -> Iterator[Arrival]:
    """All streams as one, in order of time."""
    return heapq.merge(*streams)
