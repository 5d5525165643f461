"""Requests come, are done, or go away; and those are refused whose time is over."""

from __future__ import annotations

from modelplex.core import estimates, failures, overload
from modelplex.core.advance import advance
from modelplex.core.dispatch import forward, forward_queued, proceed, quit_lines, take_turns, takes
from modelplex.core.events import Abandoned, Answered, Cancel, Reason, Refusal, Reject
from modelplex.core.holdings import Holdings
from modelplex.core.model import AT_REST, Model, State
from modelplex.core.versions import succession


def invoked(here: Holdings, request: int, name: str, now: float) -> None:
    """A request is forwarded, refused, or waits and calls for its model."""
    requests, limits = here.requests, here.limits
    new = request not in requests.forwarded and request not in requests.waiting
    assert new, f"request {request} came twice"
    model = here.models.get(name)
    if model is None or here.versions.tracks:
        model = succession.resolve(here, name)
    ready = model.state is State.LOADED and model.pause is None
    if ready and takes(here, model) and len(requests.forwarded) < limits.answers_max:
        model.usage.used(now, limits.usage_half_life_s)
        forward(here, request, model, now)
    elif (refusal := _refusal(here, model, now)) is not None:
        here.orders.append(Reject(request, *refusal))
        here.tidy(model)
    else:
        model.usage.used(now, limits.usage_half_life_s)
        _let_wait(here, request, model, now)


def _refusal(here: Holdings, model: Model, now: float) -> tuple[Refusal, object, float] | None:
    """Why a request is refused at once, with what the shell said of it, and when to come back."""
    if model.pause is not None and model.is_refused(now):
        return model.pause.refusal, model.pause.failure, estimates.until_tried_s(here, model, now)
    return overload.refusal(here, model, now)


def _let_wait(here: Holdings, request: int, model: Model, now: float) -> None:
    here.requests.enqueue(request, model, now)
    if model.state is State.LOADED:
        forward_queued(here, model, now)
        overload.watch(here, model)
        return
    here.requests.await_load(request, now)
    if here.call_for(model):
        advance(here, now)


def let_go(here: Holdings, fact: Answered | Abandoned, now: float) -> None:
    """A request is done, or its client is gone."""
    if isinstance(fact, Answered):
        if here.groups is not None:
            here.groups.end(fact.request, now)
        _answered(here, fact.request, now)
    else:
        _abandoned(here, fact.request, now)
    if here.groups is not None:
        proceed(here, now)


def _answered(here: Holdings, request: int, now: float) -> None:
    model = here.requests.forwarded.pop(request)
    began = model.in_flight.pop(request, None)
    if began is not None:  # else its worker had crashed, and the model has moved on
        model.pause = None
        model.usage.handled(now - began)
        here.past.handled(now - began)
        if here.limits.concurrency == 1:
            model.next_begins(now)
        if model.state is State.DRAINING:
            here.unload_if_drained(model)
        else:
            if model.queue:
                forward_queued(here, model, now)
            if here.retry_at is not None or not here.limits.cache_enabled:
                _rest(here, model, now)
    if here.turns.order:
        take_turns(here, now)


def _rest(here: Holdings, model: Model, now: float) -> None:
    """A loaded model has less to do, perhaps nothing."""
    if not model.idle:
        return
    if not here.limits.cache_enabled and not model.pinned:
        here.drain(model, Reason.UNCACHED, None, now)
    elif here.retry_at is not None and model.tenure_ends > now:
        advance(here, now)  # somebody waits for a victim, and this is one now


def _abandoned(here: Holdings, request: int, now: float) -> None:
    if request not in here.requests.waiting:
        return
    model = here.requests.leave(request)
    if model.state in AT_REST and not model.called_for:
        here.leave_line(model)
        here.settle(model)
        advance(here, now)
    elif model.state is State.LOADED and not model.queue:
        quit_lines(here, model)
        _rest(here, model, now)


def expire(here: Holdings, now: float) -> None:
    """Refuse those whose model or worker did not come in time, and give up work that takes too
    long.
    """
    for model in overload.refuse_late(here, now):
        quit_lines(here, model)
        _rest(here, model, now)
    for request in here.requests.overdue(now):
        model = here.requests.leave(request)
        model.promised = True  # it was told to come back
        retry_after_s = estimates.until_ready_s(here, model, now)
        here.orders.append(Reject(request, Refusal.NOT_READY, None, retry_after_s))
    for model in here.at_work():
        if model.work_ends <= now and not model.cancelled:
            _cancel(here, model, now)


def _cancel(here: Holdings, model: Model, now: float) -> None:
    model.cancelled = True
    here.orders.append(Cancel(model.name))
    limit_s = here.limits.model_load_timeout_s
    sentence = f"it was not loaded within {limit_s:g} seconds"
    failures.fail(here, model, sentence, now, passing=model.state is State.FETCHING)
