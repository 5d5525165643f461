"""The steps from one version of a model to another: it is brought, given up, put away, and what
belongs to the name (requests, rules, promises) is handed over.
"""

from __future__ import annotations

from modelplex.core import events, overload, protection
from modelplex.core.dispatch import forward_queued, quit_lines, refuse_queue
from modelplex.core.events import Reason
from modelplex.core.holdings import Holdings
from modelplex.core.model import AT_REST, AT_WORK, Model, State
from modelplex.core.versions.tracks import Track

NOT_ON_DISK = (State.ABSENT, State.FETCHING, State.DROPPING)


def in_use(here: Holdings, track: Track) -> bool:
    """Whether the version that serves is in memory to stay, or on its way there."""
    model = here.models.get(track.serving)
    return model is not None and (model.state is State.LOADED or model.ticket is not None)


def rests(here: Holdings, track: Track) -> bool:
    """Whether the version that serves is on the disk, and nobody wants it in memory."""
    model = here.models.get(track.serving)
    at_hand = model is not None and model.state not in NOT_ON_DISK
    return at_hand and not in_use(here, track)


def bring(here: Holdings, track: Track) -> None:
    """Fetch and load the candidate of a model that is in use."""
    if not in_use(here, track):
        return
    model = here.model(track.candidate)
    known = here.models[track.serving].known_memory_bytes
    model.known_memory_bytes = model.known_memory_bytes or known
    model.promised = True
    here.call_for(model)


def withdraw(here: Holdings, track: Track) -> None:
    """Have no candidate any more; its requests fall back."""
    model = here.models.get(track.candidate)
    track.propose("")
    if model is not None:
        fall_back(here, track, model)
        retire(here, model.name)


def fall_back(here: Holdings, track: Track, model: Model) -> None:
    model.promised = False
    if model.queue:
        hand_over(here, model, here.model(track.serving))


def retire(here: Holdings, key: str) -> None:
    """Nobody calls for this version any more: out of memory, and off the disk if it is not kept."""
    model = here.models.get(key)
    if model is None:
        return
    if model.state in AT_REST:
        if model.ticket is not None:
            here.leave_line(model)
        model.end_journey()
        here.settle(model)
        return
    if model.state in AT_WORK and not model.cancelled:
        model.cancelled = True
        here.orders.append(events.Cancel(key))
    elif model.state is State.LOADED:
        here.drain(model, Reason.REPLACED, None, here.now)
    model.end_journey()


def inherit(here: Holdings, old: Model, new: Model) -> None:
    """Hand over everything that belongs to the name."""
    new.wanted, old.wanted = new.wanted or old.wanted, False
    protection.pin(here, old)
    protection.pin(here, new)
    promised, old.promised = old.promised, False
    hand_over(here, old, new)
    if promised and new.state is not State.LOADED:
        here.promise(new)


def hand_over(here: Holdings, old: Model, new: Model) -> None:
    """Let the requests that wait for one version wait for another, in order of arrival; one that
    failed too often itself refuses them.
    """
    quit_lines(here, old)
    if (pause := new.pause) is not None and (pause.quarantines or new.is_refused(here.now)):
        spared = 0 if new.is_refused(here.now) else 1
        retry_after_s = max(0.0, pause.until - here.now)
        refuse_queue(here, old, pause.refusal, pause.failure, retry_after_s, spared=spared)
    moved, old.queue = old.queue, {}
    new.queue = dict(sorted([*new.queue.items(), *moved.items()]))
    for request in moved:
        here.requests.waiting[request] = new
    if new.state is State.LOADED:
        for request in moved:
            here.requests.deadlines.pop(request, None)
        forward_queued(here, new, here.now)
        overload.watch(here, new)
    elif moved:
        here.call_for(new)
