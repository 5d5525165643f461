"""The gateways of a simulated variant: a request comes to one of them, by chance."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from modelplex.core.routing.board import Board
from modelplex.core.routing.placement import Placement, PlacementLimits, Site
from modelplex.core.routing.tally import Tally
from modelplex.sim.parts import Call

_BOARD_BYTES = 4 * 1024 * 1024  # as the platform's


class Gateways:
    """As many as the limits say, each with its own placement, told by every answer as theirs are.

    One alone is told nothing, as it sees everything.
    """

    def __init__(self, limits: PlacementLimits, seed: int) -> None:
        count = limits.gateways
        board = Board(memoryview(bytearray(_BOARD_BYTES))) if count > 1 else None
        self._placements = [Placement(limits, board) for _ in range(count)]
        self._window_s = limits.window_s
        self._tallies: dict[str, Tally] | None = {} if count > 1 else None
        self._draw = Random(f"{seed} gateways")

    def draw(self) -> int:
        """Where the next request comes."""
        return self._draw.randrange(len(self._placements)) if self._tallies is not None else 0

    def update(self, sites: Sequence[Site]) -> None:
        """These are the instances now."""
        for placement in self._placements:
            placement.update(sites)

    def choose(self, call: Call, now: float) -> list[str]:
        """The instances' ids, in the order in which its gateway tries them."""
        return self._placements[call.gateway].choose(call.model, now)

    def sent(self, call: Call, site: str, now: float) -> None:
        """The request goes there."""
        self._placements[call.gateway].sent(call.model, site, now)
        if self._tallies is not None:
            tally = self._tallies.get(site) or Tally(self._window_s)
            self._tallies[site] = tally
            tally.came(call.model, now)

    def answered(self, call: Call, site: str, now: float, start: str, handle_s: float) -> None:
        """It has left that instance, with what that says of itself unless it is gone."""
        tally = self._tallies.get(site) if self._tallies is not None else None
        told = tally.left(call.model, handle_s) if tally else None
        placement = self._placements[call.gateway]
        placement.answered(call.model, site, now, start, handle_s, told=told)

    def lost(self, site: str) -> None:
        """That instance is gone; another one of its name begins anew."""
        if self._tallies is not None:
            self._tallies.pop(site, None)
        for placement in self._placements:
            placement.lost(site)

    def sweep(self, now: float) -> None:
        """Now and then."""
        for placement in self._placements:
            placement.sweep(now)
