"""The instance's side of placement: what comes to it and to each of its models, whoever sends it.

Several gateways each see their own part of the traffic alone. The instance sees all of it, and says
so with every answer: that is how they come to the same number of copies, and see an overloaded
instance at the same time, without a word among themselves.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from modelplex.core.routing.flow import Flow

_LEARN = 0.2  # the weight of the newest answer in a model's handler time

MODELS_MAX = 100_000  # remembered; the one that was not asked for longest is forgotten


class Told(NamedTuple):
    """What an instance says of itself and of the model whose answer it is.

    The work is as of the last request that came: what has passed since is the hearer's to count.
    """

    load: float  # requests in flight there, plus seconds of work that come in a second
    erlangs: float  # seconds of work that come for the model there in a second


class _Work:
    """Of one model: what has come lately, and how long its handler takes."""

    __slots__ = ("flow", "handle_s")

    def __init__(self, window_s: float) -> None:
        self.flow = Flow(window_s)
        self.handle_s = 0.0


class Tally:
    """Of one instance. Two constant-time calls per request; `now` in seconds of any clock.

    The load is counted as `PlacementLimits` says it, with the same window: a gateway that carried
    everything alone would come to the same numbers.
    """

    __slots__ = ("_flow", "_in_flight", "_models", "_models_max", "_window_s")

    def __init__(self, window_s: float, models_max: int = MODELS_MAX) -> None:
        self._window_s = window_s
        self._models_max = models_max
        self._models: OrderedDict[str, _Work] = OrderedDict()  # longest not asked for first
        self._in_flight = 0
        self._flow = Flow(window_s)

    def came(self, model: str, now: float) -> None:
        """A request has come; `left` is to be called once for it, however it ends."""
        work = self._models.get(model)
        if work is None:
            work = self._new(model)
        else:
            self._models.move_to_end(model)
        self._in_flight += 1
        if work.handle_s:
            work.flow.add(work.handle_s, now)
            self._flow.add(work.handle_s, now)

    def left(self, model: str, handle_s: float) -> Told:
        """It has been answered or given up; `handle_s` was spent in the handler, 0: none ran."""
        self._in_flight -= 1
        load = self._in_flight + self._flow.last()
        work = self._models.get(model)
        if work is None:
            return Told(load, 0.0)
        if handle_s > 0:
            work.handle_s += (handle_s - work.handle_s) * (_LEARN if work.handle_s else 1.0)
        return Told(load, work.flow.last())

    def _new(self, model: str) -> _Work:
        work = self._models[model] = _Work(self._window_s)
        if len(self._models) > self._models_max:
            self._models.popitem(last=False)
        return work
