"""Several gateways over one fleet: each sees a random part of the traffic, and talks to nobody."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from modelplex.core.routing.board import Board
from modelplex.core.routing.placement import Placement, PlacementLimits, Shift, Site
from modelplex.core.routing.tally import Tally

LOAD_S = 0.02
HOP_S = 0.0002


@dataclass
class Fleet:
    """Instances on which every copy of a model has one worker, and the gateways before them."""

    gateways: list[Placement]
    instances: int
    draw: random.Random
    window_s: float = 3.0
    shifts: list[tuple[int, Shift]] = field(default_factory=list)  # by gateway
    loads: Counter[str] = field(default_factory=Counter)  # how often each model was loaded
    served: Counter[tuple[str, str]] = field(default_factory=Counter)  # by model and instance

    def __post_init__(self) -> None:
        ids = [f"i-{number}" for number in range(self.instances)]
        for placement in self.gateways:
            placement.update([Site(each, healthy=True) for each in ids])
        self._tallies = {each: Tally(self.window_s) for each in ids}
        self._free_at: dict[tuple[str, str], float] = {}  # the worker of a model at an instance
        self._events: list[tuple[float, int, int, str, str, float, str, float]] = []
        self._count = 0

    def play(self, arrivals: Sequence[tuple[float, str, float]]) -> None:
        """Requests at their times, for models, with their handler's seconds; all are answered."""
        for at, model, handle_s in arrivals:
            self._answer_until(at)
            self._send(self.draw.randrange(len(self.gateways)), model, handle_s, at)
        self._answer_until(float("inf"))

    def _send(self, gateway: int, model: str, handle_s: float, now: float) -> None:
        placement = self.gateways[gateway]
        site = placement.choose(model, now)[0]
        if shift := placement.sent(model, site, now):
            self.shifts.append((gateway, shift))
        self._tallies[site].came(model, now)
        self.served[model, site] += 1
        start, free_at = "warm", self._free_at.get((model, site))
        if free_at is None:
            start, free_at = "cold", now + LOAD_S
            self.loads[model] += 1
        begins = max(now + HOP_S, free_at)
        self._free_at[model, site] = begins + handle_s
        self._count += 1
        event = (begins + handle_s, self._count, gateway, model, site, handle_s, start, now)
        heappush(self._events, event)

    def _answer_until(self, now: float) -> None:
        while self._events and self._events[0][0] <= now:
            at, _, gateway, model, site, handle_s, start, _ = heappop(self._events)
            told = self._tallies[site].left(model, handle_s)
            self.gateways[gateway].answered(model, site, at, start, handle_s, told=told)

    def wanted(self, model: str) -> list[int]:
        """The copies that each gateway thinks right, by the last that it said."""
        last = defaultdict(lambda: 1, {g: s.copies for g, s in self.shifts if s.model == model})
        return [last[number] for number in range(len(self.gateways))]


def fleet(
    gateways: int, instances: int, seed: int, *, board: bool = True, **limits: float
) -> Fleet:
    """A fleet with nothing loaded, before gateways with a board or without."""
    chosen = PlacementLimits(gateways=gateways, **limits)  # type: ignore[arg-type]
    shared = Board(memoryview(bytearray(1 << 16))) if board and gateways > 1 else None
    placements = [Placement(chosen, shared, "e/v") for _ in range(gateways)]
    return Fleet(placements, instances, random.Random(seed), chosen.window_s)


def poisson(
    draw: random.Random, model: str, per_s: float, handle_s: float, until_s: float
) -> list[tuple[float, str, float]]:
    """Arrivals without memory from second 0 on."""
    found, at = list[tuple[float, str, float]](), draw.expovariate(per_s)
    while at < until_s:
        found.append((at, model, handle_s))
        at += draw.expovariate(per_s)
    return found
