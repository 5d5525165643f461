"""What must hold between any two facts that a `Residency` is told."""

from __future__ import annotations

from modelplex.core.holdings import Holdings
from modelplex.core.model import AT_REST, AT_WORK, IN_MEMORY, Model, State
from modelplex.core.queues import Line


def check(here: Holdings) -> None:
    """Raise AssertionError with the model or the sums that are wrong."""
    here.memory.check()
    here.disk.check()
    here.requests.check()
    for model in here.models.values():
        _check_holdings(here, model)
        _check_requests(here, model)
        _check_place(here, model)
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
    assert len(model.in_flight) <= here.limits.concurrency, model
    if model.state is State.LOADED:
        assert not model.queue or len(model.in_flight) == here.limits.concurrency, model
        assert not model.queue.keys() & deadlines.keys(), model
        assert model.ticket is None, model
    else:
        assert model.queue.keys() <= deadlines.keys(), model
        assert not model.called_for or model.ticket is not None, model


def _check_place(here: Holdings, model: Model) -> None:
    for state, place in here.places.items():
        assert (place.get(model.name) is model) == (model.state is state), model
    assert model.pinned == (model.name in here.pinned), model
    assert not model.cancelled or model.state in AT_WORK, model
    assert not (model.state is State.ABSENT and model.ticket is None and model.forgettable), model


def _check_counts(here: Holdings) -> None:
    limits, requests = here.limits, here.requests
    assert sum(len(model.queue) for model in here.models.values()) == len(requests.waiting)
    assert len(requests.waiting) <= limits.queue_max
    assert len(here.fetching) <= limits.fetches_max
    assert len(here.loading) <= limits.loads_max
    remembered = len(here.absent) - len(here.fetch_line)
    assert remembered <= limits.remembered_max + len(here.pinned), remembered
    assert sum(len(place) for place in here.places.values()) == len(here.models)
    assert not here.orders


def _check_line(here: Holdings, line: Line, state: State) -> None:
    """A line holds exactly those at rest that hold a ticket, the oldest first."""
    assert state in AT_REST
    due = [
        (model.ticket, name)
        for name, model in here.models.items()
        if model.state is state and model.ticket is not None
    ]
    assert line.places == sorted(due), line.places
