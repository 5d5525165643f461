"""How one version of a model follows another: beside it, and only once it is loaded.

    Changed ──▶ candidate ──Fetch, Load──▶ loaded ──Switch──▶ serves; the old one is drained and
                    │                                         stays on the disk as the one before
                    ├─ failed: Discard; the old one serves on, this version is not tried again
                    └─ no room, no store: put off, and tried again after a growing pause

A candidate of a model that is in use is fetched and loaded as a promise, and may have the room of
everybody but its incumbent. Of a model that rests, the change is only noted: the next request tries
the candidate first and falls back to the old one. Requests that wait are handed over with the name.
"""

from __future__ import annotations

from dataclasses import replace

from modelplex.core import events
from modelplex.core.events import Refusal
from modelplex.core.holdings import Holdings
from modelplex.core.keys import name_of
from modelplex.core.model import Model, State
from modelplex.core.protection import pin
from modelplex.core.versions.handover import (
    NOT_ON_DISK,
    bring,
    fall_back,
    inherit,
    rests,
    retire,
    withdraw,
)
from modelplex.core.versions.tracks import Standing, Track

ROLLED_BACK = "its owner went back to the version before"


def resolve(here: Holdings, name: str) -> Model:
    """The version that a request for a name goes to."""
    track = here.versions.tracks.get(name)
    if track is None:
        return here.model(name)
    if track.candidate and not track.retry_at and rests(here, track):
        return here.model(track.candidate)
    return here.model(track.serving)


def changed(here: Holdings, name: str, version: str) -> None:
    """The store has another version; that of a model which is not here matters to nobody."""
    versions = here.versions
    serving = here.models.get(versions.serving(name))
    if serving is None or serving.state is State.ABSENT or not versions.is_news(name, version):
        return
    track = versions.track(name)
    withdraw(here, track)
    key = versions.key_for(track, version)
    if key == track.previous:  # the store went back by itself
        track.previous = ""
    track.propose(key)
    bring(here, track)
    versions.tidy(track)


def rolled_back(here: Holdings, name: str, version: str) -> None:
    """The owner does not want a version; "": the one that serves.

    Where it serves and there is none before it, it serves on.
    """
    versions = here.versions
    track = versions.track(name)
    unwanted = version or versions.version(track.serving)
    if track.candidate and not track.back and version == versions.version(track.candidate):
        candidate = track.candidate
        discard(here, here.model(candidate), ROLLED_BACK)
        retire(here, candidate)
    elif unwanted != versions.version(track.serving):
        _reject(here, track, version)
    elif track.previous and not track.back:
        withdraw(here, track)
        track.propose(track.previous, back=True)
        bring(here, track)
    versions.tidy(track)


def recovered(here: Holdings, key: str, version: str) -> None:
    """An artifact was found at start; those of one name come in the order in which they served.

    The last one may not have been tried yet, so the one before it serves until it has been.
    """
    versions, name = here.versions, name_of(key)
    _know(here, key, version)
    if key == versions.serving(name):
        return
    serving = here.models.get(versions.serving(name))
    track = versions.track(name)
    if serving is None or serving.state is State.ABSENT:
        track.serving = key
        return
    if track.candidate:
        oldest, track.previous = track.previous, track.serving
        track.serving = track.candidate
        for each in (track.previous, track.serving):
            pin(here, here.model(each))
        retire(here, oldest)
    track.propose(key)


def fetched(here: Holdings, model: Model, version: str) -> object:
    """Note which version was fetched; why it must not serve, if it was rejected before."""
    versions, track = here.versions, here.versions.of(model.name)
    _know(here, model.name, version)
    if track is None or not version:
        return None
    if model.name == track.serving and versions.version(track.candidate) == version:
        withdraw(here, track)  # the store gave just that when it was asked for any
        versions.tidy(track)
    return track.rejected.get(version)


def loaded(here: Holdings, model: Model) -> None:
    """A candidate that is loaded takes over; what was replaced meanwhile goes."""
    track = here.versions.of(model.name)
    if track is not None and track.candidate == model.name:
        _switch(here, track, model)
    elif here.versions.standing(model.name) is not Standing.SERVING:
        retire(here, model.name)


def dropped(here: Holdings, model: Model) -> None:
    """An artifact has gone from the disk: what the store has now is the next to serve."""
    here.versions.known.pop(model.name, None)
    track = here.versions.of(model.name)
    if track is None:
        return
    if model.name == track.candidate:
        if track.back or not model.called_for:
            track.previous = "" if track.back else track.previous
            track.propose("")
            fall_back(here, track, model)
    elif model.name == track.previous:
        track.previous = ""
    elif model.name == track.serving:
        track.serving = here.versions.unversioned(track)
        candidate = here.models.get(track.candidate)
        if candidate is None or not candidate.called_for:
            withdraw(here, track)
        if track.serving != model.name and (model.called_for or model.pinned):
            heir = here.model(track.serving)
            inherit(here, model, heir)
            here.tidy(heir)
    here.versions.tidy(track)


def refused(here: Holdings, model: Model, refusal: Refusal, failure: object) -> bool:
    """A model is given up; whether it was a candidate, whose requests then fall back.

    One that lacked room, or could not be fetched, is tried again: it may be as good as any.
    """
    track = here.versions.of(model.name)
    if track is None or track.candidate != model.name:
        return False
    model.pause = None  # its pauses are the track's
    if refusal is Refusal.OUT_OF_MEMORY or model.state in (State.ABSENT, State.FETCHING):
        serving = here.models.get(track.serving)
        if serving is None or serving.state is State.ABSENT:
            track.propose("")  # whatever the store has is the next to serve anyway
        else:
            track.put_off(failure, here.now)
        fall_back(here, track, model)
        here.versions.tidy(track)
    else:
        discard(here, model, failure)
    return True


def discard(here: Holdings, model: Model, failure: object) -> None:
    """Do not take a version, if it is a candidate, and never try it again."""
    track = here.versions.of(model.name)
    if track is None or track.candidate != model.name:
        return
    if not track.back:
        track.reject(here.versions.version(model.name), failure)
    elif track.previous == model.name:
        track.previous = ""  # it cannot be gone back to
    track.propose("")
    here.orders.append(events.Discard(model.name, failure))
    fall_back(here, track, model)
    here.versions.tidy(track)


def retry(here: Holdings, now: float) -> None:
    """Try the candidates again whose pause is over."""
    due = [track for track in here.versions.waiting.values() if track.retry_at <= now]
    for track in due:
        track.retry_at = 0.0
        here.versions.tidy(track)
        bring(here, track)


def _switch(here: Holdings, track: Track, model: Model) -> None:
    """The candidate serves from now on."""
    old, oldest = here.model(track.serving), track.previous
    track.serving = model.name
    track.previous = "" if track.back or old.state in NOT_ON_DISK else old.name
    if track.back:
        track.reject(here.versions.version(old.name), ROLLED_BACK)
    track.propose("")
    here.orders.append(events.Switch(track.name, model.name))
    usage, model.pause = old.usage, None
    model.usage = replace(model.usage, count=usage.count, last_at=usage.last_at)
    here.memory_ranking.touch(model)
    inherit(here, old, model)
    retire(here, old.name)
    if oldest != model.name:
        retire(here, oldest)
    here.versions.tidy(track)


def _reject(here: Holdings, track: Track, version: str) -> None:
    track.reject(version, ROLLED_BACK)
    if track.previous and here.versions.version(track.previous) == version:
        if track.back:
            withdraw(here, track)  # the way back to it is closed
        unwanted, track.previous = track.previous, ""
        retire(here, unwanted)


def _know(here: Holdings, key: str, version: str) -> None:
    if version:
        here.versions.known[key] = version
