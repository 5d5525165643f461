"""Artifacts come to the disk, or cannot be had, or leave it."""

from __future__ import annotations

from modelplex.core import failures, room
from modelplex.core.events import Dropped, Fetched, FetchFailed, FetchOverran, Recovered
from modelplex.core.holdings import Holdings
from modelplex.core.model import State
from modelplex.core.sharing import moves
from modelplex.core.versions import succession


def recovered(here: Holdings, fact: Recovered) -> None:
    """It lay there when the instance started."""
    moves.brought(here, fact.model, alone=fact.alone)
    succession.recovered(here, fact.model, fact.version)
    here.rest_on_disk(here.model(fact.model), fact.disk_bytes, fact.content)


def fetched(here: Holdings, fact: Fetched, now: float) -> None:
    """It is here, though perhaps in a version that must not serve."""
    model = here.models[fact.model]
    moves.brought(here, model.name, alone=fact.alone)
    rejected = succession.fetched(here, model, fact.version)
    here.stop_work(model, State.FETCHING, now)
    model.usage.fetched(now - model.work_since)
    here.past.fetched(now - model.work_since)
    if rejected is not None:
        failures.fail(here, model, rejected, now, passing=True)
    here.rest_on_disk(model, fact.disk_bytes, fact.content)


def fetch_overran(here: Holdings, fact: FetchOverran, now: float) -> None:
    """It is tried again with more room, if there can be more."""
    model = here.models[fact.model]
    counts = here.stop_work(model, State.FETCHING, now)
    limit = here.disk.of(model.name)
    ceiling = room.ceiling_bytes(here, here.disk, model)
    model.least_disk_bytes = max(fact.needed_bytes, min(2 * limit, ceiling))
    here.back_to_rest(model)
    if limit >= ceiling and counts:
        failures.refuse_too_large(here, model, now)
    here.settle(model)


def fetch_failed(here: Holdings, fact: FetchFailed, now: float) -> None:
    """It is no good, or just not to be had now."""
    model, passing = here.models[fact.model], fact.passing
    if not passing:
        succession.discard(here, model, fact.failure)
    failures.work_failed(here, model, State.FETCHING, fact.failure, now, passing=passing)


def dropped(here: Holdings, fact: Dropped) -> None:
    """It has made room."""
    model = here.models[fact.model]
    moves.brought(here, model.name, alone=False)
    here.disk.release(model.name)
    here.enter(model, State.ABSENT)
    succession.dropped(here, model)
    here.settle(model)
