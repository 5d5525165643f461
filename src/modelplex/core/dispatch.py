"""How requests leave the queues of their models: forwarded, as far as workers and the instance can
take more, or refused.
"""

from __future__ import annotations

from modelplex.core import events
from modelplex.core.estimates import bounded
from modelplex.core.events import Refusal
from modelplex.core.holdings import Holdings
from modelplex.core.model import Model, State
from modelplex.core.sharing import moves

BRISK_S = 0.002  # mean time of an answer, with the way to the worker and back


def takes(here: Holdings, model: Model) -> bool:
    """Whether the worker of a loaded model can have another request now."""
    free = here.groups is None or here.groups.may(model.name)
    return free and len(model.in_flight) < at_once(here, model)


def at_once(here: Holdings, model: Model) -> int:
    """How many requests its worker is given. A brisk one gets some ahead of their turn: it then
    finds the next one when it has answered, and is not woken for each.
    """
    limits = here.limits
    if 0.0 < model.usage.handle_s < BRISK_S:
        return max(limits.concurrency, limits.concurrency_brisk)
    return limits.concurrency


def answers_full(here: Holdings) -> bool:
    """Whether the instance works on as many requests as it may."""
    return len(here.requests.forwarded) >= here.limits.answers_max


def forward(here: Holdings, request: int, model: Model, now: float) -> None:
    """Hand a request to the worker of its model, which takes it."""
    here.requests.forwarded[request] = model
    model.begin(request, now)
    model.hits += 1
    model.worked = True
    here.memory_ranking.touch(model)
    here.orders.append(events.Forward(request, model.name))
    if here.groups is not None:
        moves.began(here, model, request, now)


def forward_queued(here: Holdings, model: Model, now: float) -> None:
    """Forward what waits for a loaded model, as far as its worker takes it; beyond what the
    instance may work on at once, it waits for its turn.
    """
    if here.groups is not None and model.queue:
        moves.wait(here, model, now)
    while model.queue and takes(here, model):
        if here.turns.order or answers_full(here):
            here.turns.join(model)
            take_turns(here, now)
            return
        forward(here, here.requests.next(model), model, now)


def take_turns(here: Holdings, now: float) -> None:
    """Let those who wait for their turn have it, as far as the instance may work on more."""
    while here.turns.order and not answers_full(here):
        model = here.turns.take(here.past.handle_s)
        if takes(here, model):  # else it stands here again as soon as its worker does
            forward(here, here.requests.next(model), model, now)
            if model.queue and takes(here, model):
                here.turns.join(model)


def proceed(here: Holdings, now: float) -> None:
    """Let shared workers begin with those who wait, where something has ended."""
    groups = here.groups
    while groups is not None and groups.freed:
        _, group = groups.freed.popitem()
        while group.free and group.line:
            model = here.models[next(iter(group.line))]
            if model.state is not State.LOADED or not model.queue:
                del group.line[model.name]
                continue
            forward_queued(here, model, now)
            if group.free:  # the instance works on enough already
                break


def quit_lines(here: Holdings, model: Model) -> None:
    """Nobody waits for a model any more: it needs no turn, of the instance or of its worker."""
    here.turns.leave(model)
    moves.quit_line(here, model)


def refuse_queue(
    here: Holdings,
    model: Model,
    refusal: Refusal,
    failure: object,
    retry_after_s: float,
    *,
    spared: int = 0,
) -> None:
    """Refuse the requests that wait for a model, but for the first few. 0.0 seconds: it is not
    known when another try should succeed.
    """
    retry_after_s = retry_after_s and bounded(retry_after_s)
    for request in list(model.queue)[spared:]:
        here.requests.leave(request)
        here.orders.append(events.Reject(request, refusal, failure, retry_after_s))
