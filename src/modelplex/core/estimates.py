"""When another try should succeed: what a refused client is told, from what was measured before.

A model's own fetches, loads and answers count; where it has none yet, the mean of all models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelplex.core.model import Model, State
from modelplex.core.queues import Line

if TYPE_CHECKING:
    from modelplex.core.holdings import Holdings

MIN_S, MAX_S = 1.0, 360.0


def until_ready_s(here: Holdings, model: Model, now: float) -> float:
    """Until this model is loaded, if nothing goes wrong."""
    fetch_s = model.usage.fetch_s or here.past.fetch_s
    load_s = model.usage.load_s or here.past.load_s
    match model.state:
        case State.LOADED:
            left_s = 0.0
        case State.LOADING:
            left_s = load_s - (now - model.work_since)
        case State.FETCHING:
            left_s = max(fetch_s - (now - model.work_since), 0.0) + load_s
        case State.ABSENT | State.DROPPING:
            others_s = _ahead_s(here.fetch_line, model, here.past.fetch_s, here.limits.fetches_max)
            left_s = others_s + fetch_s + load_s
        case _:
            others_s = _ahead_s(here.load_line, model, here.past.load_s, here.limits.loads_max)
            left_s = others_s + load_s
    return bounded(left_s)


def until_tried_s(here: Holdings, model: Model, now: float) -> float:
    """Until a model that is refused may be tried again, or has been."""
    assert model.pause is not None
    if (pause_s := model.pause.until - now) > 0:
        return bounded(pause_s)
    return until_ready_s(here, model, now)


def until_room_s(here: Holdings, model: Model, now: float) -> float:
    """Until half of those who wait for this model have been answered, after it is loaded."""
    answer_s = model.usage.handle_s or here.past.handle_s
    waiting_s = len(model.queue) / 2 * answer_s / here.limits.concurrency
    return bounded(waiting_s + (until_ready_s(here, model, now) if model.ticket else 0.0))


def until_calm_s(here: Holdings) -> float:
    """Until half of all that wait here have been answered."""
    waiting_s = len(here.requests.waiting) / 2 * here.past.handle_s
    return bounded(waiting_s / here.limits.answers_max)


def bounded(seconds: float) -> float:
    """What may be said to a client: no hammering, and no more than a load may take."""
    return min(max(seconds, MIN_S), MAX_S)


def _ahead_s(line: Line, model: Model, each_s: float, at_once: int) -> float:
    """How long those take who stand before this model in a line."""
    if model.ticket is None:
        return 0.0
    return line.before(model.ticket, model.name) * each_s / at_once
