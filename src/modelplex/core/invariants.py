"""What must hold between any two facts that a `Residency` is told."""

from __future__ import annotations

from modelplex.core import overload
from modelplex.core.dispatch import answers_full, takes
from modelplex.core.holdings import Holdings
from modelplex.core.keys import name_of, version_of
from modelplex.core.model import AT_REST, AT_WORK, IN_MEMORY, Model, State
from modelplex.core.queues import Line
from modelplex.core.rules import rule_of
from modelplex.core.sharing import moves
from modelplex.core.versions.tracks import REJECTED_MAX, Standing, Track


def check(here: Holdings) -> None:
    """Raise AssertionError with the model or the sums that are wrong."""
    here.memory.check()
    here.disk.check()
    here.requests.check()
    here.turns.check()
    moves.check(here)
    here.memory_ranking.check()
    here.disk_ranking.check()
    for model in here.models.values():
        _check_holdings(here, model)
        _check_requests(here, model)
        _check_place(here, model)
        _check_standing(here, model)
        _check_version(here, model)
    for track in here.versions.tracks.values():
        _check_track(here, track)
    _check_counts(here)
    _check_line(here, here.fetch_line, State.ABSENT)
    _check_line(here, here.load_line, State.ON_DISK)


def _check_holdings(here: Holdings, model: Model) -> None:
    name, state = model.name, model.state
    assert (name in here.memory.held) == (state in IN_MEMORY), model
    assert (name in here.disk.held) == (state is not State.ABSENT), model
    assert (name in here.memory.leaving) == (state in IN_MEMORY[2:]), model
    assert (name in here.disk.leaving) == (state is State.DROPPING), model


def _check_requests(here: Holdings, model: Model) -> None:
    waiting, forwarded = here.requests.waiting, here.requests.forwarded
    deadlines = here.requests.deadlines
    assert all(waiting.get(request) is model for request in model.queue), model
    assert all(forwarded.get(request) is model for request in model.in_flight), model
    assert not model.in_flight or model.state in (State.LOADED, State.DRAINING), model
    assert model.state is not State.DRAINING or model.in_flight, model
    most = max(here.limits.concurrency, here.limits.concurrency_brisk)
    assert len(model.in_flight) <= most, model
    if model.state is State.LOADED:
        assert not (model.queue and takes(here, model)) or model in here.turns, model
        assert not model.queue.keys() & deadlines.keys(), model
        assert not model.queue or _is_watched(here, model), model
        assert model.ticket is None, model
    else:
        assert model.queue.keys() <= deadlines.keys(), model
        assert not model.called_for or model.ticket is not None, model


def _is_watched(here: Holdings, model: Model) -> bool:
    look_at = here.requests.look_at
    return look_at is not None and look_at <= overload.deadline(here, model)


def _check_place(here: Holdings, model: Model) -> None:
    for state, place in here.places.items():
        assert (place.get(model.name) is model) == (model.state is state), model
    assert model.pinned == (model.name in here.pinned), model
    assert model.pinned == (model.wanted or (model.rule.pinned and _serves(here, model))), model
    assert model.rule == rule_of(here.rules, name_of(model.name)), model
    assert not model.cancelled or model.state in AT_WORK, model
    assert not (model.state is State.ABSENT and model.ticket is None and model.forgettable), model


def _serves(here: Holdings, model: Model) -> bool:
    return here.versions.serving(name_of(model.name)) == model.name


def _check_standing(here: Holdings, model: Model) -> None:
    """It is ranked where it lies, waits for turns only while it is loaded, and, in quarantine, has
    at most one request.
    """
    assert (model in here.memory_ranking) == (model.state is State.LOADED), model
    assert (model in here.disk_ranking) == (model.state is State.ON_DISK), model
    assert model not in here.turns or (model.state is State.LOADED and model.queue), model
    if model.pause is not None and model.pause.quarantines:
        assert len(model.queue) + len(model.in_flight) <= 1, model


def _check_version(here: Holdings, model: Model) -> None:
    """Requests wait for the version that serves or for the one to come, and nothing else stays."""
    versions = here.versions
    standing, state = versions.standing(model.name), model.state
    if standing in (Standing.PREVIOUS, Standing.REPLACED):
        assert not model.wanted, model
        assert not model.called_for, model
        assert model.ticket is None, model
        assert state is not State.LOADED, model
    if state in AT_REST and model.ticket is None:
        assert state is State.ABSENT or versions.is_kept(model.name), model
    assert standing is not Standing.CANDIDATE or state is not State.LOADED, model
    assert state is not State.ABSENT or model.name not in versions.known, model


def _check_track(here: Holdings, track: Track) -> None:
    """The versions of a name are different ones, on the disk but for the one to come, and few."""
    keys = [key for key in (track.serving, track.previous, track.candidate) if key]
    versions, models = here.versions, here.models
    assert len(keys) - len(set(keys)) == track.back, track
    assert not track.back or track.candidate == track.previous, track
    assert all(name_of(key) == track.name for key in keys), track
    for key in (track.previous, version_of(track.serving) and track.serving):
        assert not key or models[key].state is not State.ABSENT, track
    assert len(track.rejected) <= REJECTED_MAX, track
    for key in (track.previous, track.candidate):
        assert not key or versions.version(key) not in track.rejected, track
    assert bool(track.retry_at) == (versions.waiting.get(track.name) is track), track
    assert not track.retry_at or track.candidate, track
    assert track.rejected or not track.bare, track


def _check_counts(here: Holdings) -> None:
    limits, requests = here.limits, here.requests
    assert sum(len(model.queue) for model in here.models.values()) == len(requests.waiting)
    assert len(requests.waiting) <= limits.queue_max
    assert len(requests.forwarded) <= limits.answers_max
    assert not here.turns.order or answers_full(here), "a turn is waited for without need"
    assert here.pinned.keys() <= here.models.keys()
    assert len(here.fetching) <= limits.fetches_max
    assert len(here.loading) <= limits.loads_max
    remembered = len(here.absent) - len(here.fetch_line)
    assert remembered <= limits.remembered_max + len(here.pinned), remembered
    assert sum(len(place) for place in here.places.values()) == len(here.models)
    assert not here.orders


def _check_line(here: Holdings, line: Line, state: State) -> None:
    """A line holds exactly those at rest that hold a ticket, the oldest first."""
    due = [
        (model.ticket, name)
        for name, model in here.models.items()
        if model.state is state and model.ticket is not None
    ]
    assert line.places == sorted(due), line.places
