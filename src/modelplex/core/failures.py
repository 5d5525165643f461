"""What follows when a model cannot be had: it is given up, and perhaps refused for a while."""

from __future__ import annotations

from modelplex.core import events, quarantine
from modelplex.core.dispatch import refuse_queue
from modelplex.core.events import Refusal
from modelplex.core.holdings import Holdings
from modelplex.core.model import Model, State
from modelplex.core.quarantine import PAUSE_MIN_S
from modelplex.core.versions import succession

PAUSE_MAX_S = 60.0  # without another try for a model that is too large


def refuse(
    here: Holdings, model: Model, refusal: Refusal, failure: object, retry_after_s: float = 0.0
) -> None:
    """Give up on a model: all who wait are told, and the next request tries anew."""
    if succession.refused(here, model, refusal, failure):
        model.end_journey()
        return
    refuse_queue(here, model, refusal, failure, retry_after_s)
    if model.wanted and model.promised:
        here.orders.append(events.GiveUp(model.name, refusal, failure))
    model.end_journey()


def fail(here: Holdings, model: Model, failure: object, now: float, *, passing: bool) -> None:
    """Give up on a model that failed. Who was told to come back shall hear why."""
    if not passing:
        model.pause = quarantine.failed(model.pause, failure, False, now, here.limits)
    if model.promised and not model.pinned:
        until = now + PAUSE_MAX_S
        model.pause = quarantine.refused(model.pause, Refusal.FAILED, failure, until)
    refuse(here, model, Refusal.FAILED, failure)


def refuse_for_a_while(
    here: Holdings, model: Model, refusal: Refusal, sentence: str, now: float
) -> None:
    """Refuse a model that is too large, and then at once for as long as was spent on it.

    Every try makes everybody else go. So half of the time is theirs, and more with every further
    try in vain, though there is no more than a minute between two.
    """
    spent_s = max(model.work_spent_s, PAUSE_MIN_S)
    pause_s = min(quarantine.longer(model.pause, spent_s), PAUSE_MAX_S)
    model.pause = quarantine.refused(model.pause, refusal, sentence, now + pause_s)
    refuse(here, model, refusal, sentence, pause_s)


def refuse_too_large(here: Holdings, model: Model, now: float) -> None:
    """Refuse a model whose artifact is larger than the disk."""
    needed, model.least_disk_bytes = model.least_disk_bytes, 0
    room_bytes = here.disk.capacity_bytes
    sentence = f"its files need at least {needed} bytes, and the disk has {room_bytes}"
    refuse_for_a_while(here, model, Refusal.FAILED, sentence, now)


def work_failed(
    here: Holdings,
    model: Model,
    state: State,
    failure: object,
    now: float,
    *,
    passing: bool = False,
) -> None:
    """A fetch or load, as `state` says, has come to a bad end."""
    counts = here.stop_work(model, state, now)
    here.back_to_rest(model)
    if counts:
        fail(here, model, failure, now, passing=passing)
    here.settle(model)
