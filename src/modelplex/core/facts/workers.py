"""Models come into memory, move there, take more or less of it, die, and leave."""

from __future__ import annotations

from modelplex.core import failures, overload, protection, quarantine, room
from modelplex.core.dispatch import forward_queued
from modelplex.core.events import Crashed, Loaded, Moved, OutOfMemory, Refusal
from modelplex.core.holdings import Holdings
from modelplex.core.model import Model, State
from modelplex.core.sharing import moves
from modelplex.core.versions import succession


def loaded(here: Holdings, fact: Loaded, now: float) -> None:
    """A model answers from now on; a candidate takes over first."""
    model, size = here.models[fact.model], fact.memory_bytes
    here.stop_work(model, State.LOADING, now)
    model.usage.loaded(now - model.work_since)
    here.past.loaded(now - model.work_since)
    first = moves.loaded(here, model, size, now)
    if not first or not here.footprints.count:  # the first of a shared worker brings its process
        here.footprints.loaded(model.known_disk_bytes, size)
    here.enter(model, State.LOADED)
    model.end_journey()
    model.pause = quarantine.loaded(model.pause, now)
    model.loads += 1
    protection.keep_place(here, model, now)
    measured(here, model.name, size)
    here.requests.loaded(model)
    succession.loaded(here, model)
    forward_queued(here, model, now)
    overload.watch(here, model)


def out_of_memory(here: Holdings, fact: OutOfMemory, now: float) -> None:
    """It is loaded again with more room, if there can be more."""
    model = here.models[fact.model]
    counts = here.stop_work(model, State.LOADING, now)
    limit = here.memory.of(model.name)
    ceiling = room.ceiling_bytes(here, here.memory, model)
    model.least_memory_bytes = min(2 * limit, ceiling)
    here.back_to_rest(model)
    if limit >= ceiling and counts:
        model.least_memory_bytes = 0  # the next try starts with the usual again
        sentence = f"it needs more than {limit} bytes"
        failures.refuse_for_a_while(here, model, Refusal.OUT_OF_MEMORY, sentence, now)
    here.settle(model)


def moved(here: Holdings, fact: Moved, now: float) -> None:
    """It answers from another worker, which may be free for what waits."""
    model = here.models[fact.model]
    moves.moved(here, model, fact.memory_bytes, now)
    if model.state is State.LOADED:
        forward_queued(here, model, now)


def measured(here: Holdings, name: str, size: int) -> None:
    """What is promised to a model follows what it takes; one that has left takes nothing."""
    model = here.models.get(name)
    if model is not None and model.state in (State.LOADED, State.DRAINING):
        here.memory.reserve(name, size)
        model.known_memory_bytes = size
        if model.state is State.LOADED:
            here.memory_ranking.touch(model)


def crashed(here: Holdings, fact: Crashed, now: float) -> None:
    """A worker died, with one model or several: there is a fact for each."""
    model = here.models[fact.model]
    if model.state is State.LOADING:
        _crashed_loading(here, model, fact.failure, now)
    elif model.state in (State.LOADED, State.DRAINING):  # else it is on its way out already
        _crashed_loaded(here, model, fact, now)


def _crashed_loading(here: Holdings, model: Model, failure: object, now: float) -> None:
    if moves.crashed(here, model, now):
        failures.work_failed(here, model, State.LOADING, failure, now)
    else:  # a neighbour did it
        here.stop_work(model, State.LOADING, now)
        here.back_to_rest(model)
        here.settle(model)


def _crashed_loaded(here: Holdings, model: Model, crash: Crashed, now: float) -> None:
    guilty = moves.crashed(here, model, now, crash.worker_lives) and not crash.blameless
    if guilty:  # else a neighbour did it
        model.pause = quarantine.failed(model.pause, crash.failure, True, now, here.limits)
    if model.state is State.LOADED:
        # A pinned model comes back unasked, unless it has done nothing since its load: it
        # might then load and crash for ever.
        model.promised = model.pinned and model.worked
        here.requests.await_reload(model, now)
    if model.pause is not None and model.pause.quarantines:
        retry_after_s = model.pause.until - now
        failures.refuse(here, model, Refusal.QUARANTINED, crash.failure, retry_after_s)
    here.leave_memory(model)


def unloaded(here: Holdings, name: str) -> None:
    """Its memory is back."""
    model = here.models[name]
    assert model.state is State.UNLOADING, f"{model.name} is {model.state.value}"
    here.leave_memory(model)
