"""On which instance a request is tried, and what the replies teach for the next ones.

Every multi-model variant has a placement (`core/routing/placement.py`); for all others, whose
instances have the same model, the requests that each of them has are counted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Protocol

from modelplex.core.routing.board import Board
from modelplex.core.routing.placement import Placement, PlacementLimits, Shift, Site
from modelplex.core.routing.tally import Told
from modelplex.core.routing.variants import pick_any
from modelplex.gateway.fleet import Fleet, Instance, Variant
from modelplex.lanes.wire import Answer

log = logging.getLogger(__name__)


class Route(Protocol):
    """One request's way; it hears what became of every attempt."""

    def order(self, variant: Variant) -> Iterator[Instance]:
        """The variant's instances, the one to try first, first."""

    def sent(self, instance: Instance) -> None:
        """The request goes there."""

    def answered(self, instance: Instance, answer: Answer | None) -> None:
        """It has left that instance; None: without an answer."""

    def lost(self, instance: Instance) -> None:
        """The instance could not be reached."""


class Routes:
    """Of all variants of all endpoints. `draw` gives numbers in [0, 1), `clock` seconds."""

    def __init__(
        self,
        limits: PlacementLimits,
        clock: Callable[[], float],
        draw: Callable[[], float],
        *,
        board: Board | None = None,
    ) -> None:
        """`board` is shared with other gateways, as `clock` then is. None: this is the only one, so
        that nobody has to tell it what comes to instances.
        """
        self._board = board
        self._limits = limits
        self._clock = clock
        self._draw = draw
        self._placed: dict[tuple[str, str], _Placed] = {}
        self._in_flight: dict[str, int] = {}  # instances of variants with one model; none: 0

    def route(self, endpoint: str, variant: Variant, model: str | None) -> Route:
        """The way of a request for that model; None: the only one that there is."""
        if model is None:
            return _AnyRoute(self._in_flight, self._draw())
        placed = self._placed.get((endpoint, variant.name))
        if placed is None:
            placed = _Placed(endpoint, variant.name, self._limits, self._clock, self._board)
            self._placed[endpoint, variant.name] = placed
        return _ModelRoute(placed, model)

    def sweep(self, fleet: Fleet) -> None:
        """Withdraws what has cooled; forgets the variants that are no longer in the fleet."""
        for (endpoint, variant), placed in list(self._placed.items()):
            known = fleet.known(endpoint)
            if known is None or variant not in [each.name for each in known.variants]:
                del self._placed[endpoint, variant]
            else:
                placed.sweep()


class _Placed:
    """One variant's placement, kept up with the fleet's snapshots."""

    def __init__(
        self,
        endpoint: str,
        variant: str,
        limits: PlacementLimits,
        clock: Callable[[], float],
        board: Board | None,
    ) -> None:
        self.listens = board is not None
        self.placement = Placement(limits, board, f"{endpoint}/{variant}")
        self.clock = clock
        self._endpoint = endpoint
        self._variant = variant
        self._instances: tuple[Instance, ...] = ()
        self._by_id: dict[str, Instance] = {}

    def instances(self, variant: Variant) -> dict[str, Instance]:
        """Those of the newest snapshot, which the placement then knows."""
        if variant.instances is not self._instances:
            self._instances = variant.instances
            self._by_id = {each.id: each for each in variant.instances}
            sites = [Site(each.id, each.healthy, each.draining) for each in variant.instances]
            self.placement.update(sites)
        return self._by_id

    def sweep(self) -> None:
        for shift in self.placement.sweep(self.clock()):
            self.note(shift)

    def note(self, shift: Shift) -> None:
        event = "model.spread" if shift.copies > shift.copies_before else "model.withdrew"
        fields = {
            "endpoint": self._endpoint,
            "variant": self._variant,
            "model": shift.model,
            "copies_before": shift.copies_before,
            "copies": shift.copies,
            "erlangs": round(shift.erlangs, 3),
        }
        log.info(event, extra=fields)


class _ModelRoute:
    """To where its model is, or should be."""

    __slots__ = ("_model", "_placed")

    def __init__(self, placed: _Placed, model: str) -> None:
        self._placed = placed
        self._model = model

    def order(self, variant: Variant) -> Iterator[Instance]:
        placed = self._placed
        by_id = placed.instances(variant)
        return map(by_id.__getitem__, placed.placement.choose(self._model, placed.clock()))

    def sent(self, instance: Instance) -> None:
        placed = self._placed
        if shift := placed.placement.sent(self._model, instance.id, placed.clock()):
            placed.note(shift)

    def answered(self, instance: Instance, answer: Answer | None) -> None:
        placed = self._placed
        start, handle_s, told = "", 0.0, None
        if answer is not None:
            start, handle_s, load, erlangs = answer.told
            told = Told(load, erlangs) if placed.listens else None
        now = placed.clock()
        placed.placement.answered(self._model, instance.id, now, start, handle_s, told=told)

    def lost(self, instance: Instance) -> None:
        self._placed.placement.lost(instance.id)


class _AnyRoute:
    """To the less busy of two drawn instances."""

    __slots__ = ("_draw", "_in_flight")

    def __init__(self, in_flight: dict[str, int], draw: float) -> None:
        self._in_flight = in_flight
        self._draw = draw

    def order(self, variant: Variant) -> Iterator[Instance]:
        return iter(pick_any(variant.instances, self._busy, self._draw))

    def sent(self, instance: Instance) -> None:
        self._in_flight[instance.id] = self._busy(instance) + 1

    def answered(self, instance: Instance, answer: Answer | None) -> None:
        left = self._in_flight.pop(instance.id) - 1
        if left:
            self._in_flight[instance.id] = left

    def lost(self, instance: Instance) -> None:
        """It is left alone for a moment by whoever delivers."""

    def _busy(self, instance: Instance) -> int:
        return self._in_flight.get(instance.id, 0)
