"""Who takes the next step towards memory, and who has to make room for it.

Those who wait are served strictly by ticket. Somebody small does not overtake somebody large who
waits for room: it would find room over and over while the large one starves.

A load that hotter models would have to pay for waits for a moment, in case they cool or room comes
by itself: as long as their reloads would take, since then leaving them costs no less than waiting,
and at most `Limits.hot_wait_s`. That time counts from its oldest request. Whoever stands in front
has waited longer, and has used up its own time earlier; so of all such waits in a line together
nobody feels more than `hot_wait_s`, and then the oldest ticket goes first as ever.
"""

from __future__ import annotations

import math

from modelplex.core import room
from modelplex.core.budget import Budget
from modelplex.core.events import Reason, Refusal
from modelplex.core.failures import PAUSE_MAX_S, refuse, refuse_too_large
from modelplex.core.holdings import Holdings
from modelplex.core.model import Model, State
from modelplex.core.protection import next_victim_at
from modelplex.core.sharing import regroup
from modelplex.core.versions import succession


def advance(here: Holdings, now: float) -> None:
    """Let those in front take their next step, and order room made where they lack it."""
    here.retry_at = None
    succession.retry(here, now)
    _relieve(here, now)
    _refuse_hopeless(here)
    _start_loads(here, now, before=_start_fetches(here, now))
    regroup.advance(here, now)


def _relieve(here: Holdings, now: float) -> None:
    """Take out what has grown beyond the budgets; all that can go if that is not enough."""
    for victim in _excess(here.memory, room.memory_candidates(here, math.inf)):
        here.drain(victim, Reason.OVER_BUDGET, None, now)
    resting = ((model, here.disk.of(model.name)) for model in room.resting(here))
    for victim in _excess(here.disk, resting):
        here.drop(victim, Reason.OVER_BUDGET, None)


def _excess(budget: Budget, candidates: room.Candidates) -> list[Model]:
    if (missing := budget.missing_bytes(0)) <= 0:
        return []
    everybody = list(candidates)
    return room.choose(everybody, missing) or [model for model, _ in everybody]


def _refuse_hopeless(here: Holdings) -> None:
    """Refuse those for whom pinned models leave no memory at all."""
    while here.load_line:
        model = here.models[here.load_line.first]
        if room.ceiling_bytes(here, here.memory, model) > 0:
            break
        here.leave_line(model)
        sentence = "pinned models hold all of the memory"
        refuse(here, model, Refusal.OUT_OF_MEMORY, sentence, PAUSE_MAX_S)
        here.settle(model)


def _start_fetches(here: Holdings, now: float) -> float:
    """Fetch for the first in line; the ticket of one who finds no room, or infinity.

    Nobody behind that one may load: what is loading cannot make room.
    """
    while here.fetch_line and len(here.fetching) < here.limits.fetches_max:
        model = here.models[here.fetch_line.first]
        needed = room.disk_needed(here, model)
        if needed > room.ceiling_bytes(here, here.disk, model):
            here.leave_line(model)
            refuse_too_large(here, model, now)
            here.settle(model)
        elif needed <= here.disk.free_bytes:
            here.fetch(model, needed, now)
        elif _make_disk_room(here, model, needed, now):
            break
        else:
            return model.ticket or 0
    return math.inf


def _start_loads(here: Holdings, now: float, before: float) -> None:
    """Load the first in line, as long as their tickets are older than `before`."""
    while here.load_line and len(here.loading) < here.limits.loads_max:
        model = here.models[here.load_line.first]
        worker, extra = regroup.worker_for(here, model, now)
        needed = room.memory_needed(here, model, extra)
        if needed <= 0 or (model.ticket or 0) > before:
            break
        if needed > here.memory.free_bytes:
            _make_memory_room(here, model, needed, now)
            break
        here.load(model, needed, now, worker)


def _make_memory_room(here: Holdings, model: Model, needed: int, now: float) -> None:
    if (missing := here.memory.missing_bytes(needed)) <= 0:
        return
    victims = room.choose(room.sparing(here, model, room.memory_candidates(here, now)), missing)
    if not victims:
        here.wake(next_victim_at(here, now))
    elif (patient_until := _patient_until(here, model, needed, victims, now)) > now:
        here.wake(patient_until)
    else:
        for victim in victims:
            here.drain(victim, Reason.MEMORY, model.name, now)


def _patient_until(
    here: Holdings, model: Model, needed: int, victims: list[Model], now: float
) -> float:
    """Until when a load waits because hot models would have to go for it."""
    if not model.queue:
        return now  # it is promised: who asked for it was told to come back
    oldest_at = next(iter(model.queue.values()))
    longest_s = here.limits.hot_wait_s
    if oldest_at + longest_s <= now:
        return now
    cost_s = model.usage.load_s or here.past.load_s
    worth = here.memory_ranking.policy.score(model.name, model.usage, needed, cost_s)
    hot = [each for each in victims if _is_hot(here, each, worth, now - longest_s)]
    return oldest_at + min(sum(each.usage.load_s for each in hot), longest_s)


def _is_hot(here: Holdings, model: Model, worth: float, since: float) -> bool:
    """Whether it is worth more than that, and was asked for more than once since then."""
    return model.usage.before_at > since and here.memory_ranking.score(model) > worth


def _make_disk_room(here: Holdings, model: Model, needed: int, now: float) -> bool:
    """Order out who holds the room that a model needs; whether they suffice."""
    if (missing := here.disk.missing_bytes(needed)) <= 0:
        return True
    candidates = room.disk_candidates(here, model.ticket or 0, now)
    victims = room.choose(room.sparing(here, model, candidates), missing)
    for victim in victims:
        match victim.state:
            case State.ON_DISK:
                here.drop(victim, Reason.DISK, model.name)
            case State.LOADED:
                here.drain(victim, Reason.DISK, model.name, now)
            case _:
                pass  # on its way out of memory; it can be dropped when it is out
    if not victims:
        here.wake(next_victim_at(here, now))
    return bool(victims)
