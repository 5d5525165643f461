"""Which model moves to which worker, and when: see `moves` for the reasons there are."""

from __future__ import annotations

from modelplex.core import events, room
from modelplex.core.dispatch import proceed
from modelplex.core.holdings import Holdings
from modelplex.core.model import Model, State
from modelplex.core.sharing.groups import ALONE, Group, Groups
from modelplex.core.sharing.moves import Why, reserved, waits


def worker_for(here: Holdings, model: Model, now: float) -> tuple[int, int]:
    """The worker to load a model into, and the bytes that this takes besides the model."""
    if here.groups is None:
        return ALONE, 0
    moving_to = here.groups.all.get(here.moves.open.get(model.name, ALONE))  # from where it crashed
    number = here.groups.target(model.name, now, avoid=moving_to)
    return number, here.groups.first_extra(number)


def advance(here: Holdings, now: float) -> None:
    """Order the moves that are wished for, as far as there is room."""
    if here.groups is None:
        return
    proceed(here, now)
    while (reminder := here.moves.due(now)) is not None:
        _look(here, here.groups, *reminder, now)
    wishes = here.moves.wishes
    while wishes and len(here.moves.open) < here.limits.loads_max:
        name, why = wishes.popitem(last=False)
        if not _order(here, here.groups, here.models.get(name), why, now):
            wishes[name] = why  # behind those that may take less room
            break


def _look(here: Holdings, groups: Groups, name: str, why: Why, now: float) -> None:
    """Somebody may have waited for too long, or has been apart for long enough."""
    if not _sensible(here, groups, name, why, now):
        if why is Why.HELD_UP and waits(groups, name) and name not in here.moves.open:
            _look_again(here, groups, name, now)  # it is answering, and has more to answer
        return
    here.moves.wishes[name] = why
    if why is Why.HELD_UP:
        here.moves.wishes.move_to_end(name, last=False)
        _blame(here, groups, groups.of[name], now)


def _blame(here: Holdings, groups: Groups, group: Group, now: float) -> None:
    """The model that holds others up leaves them."""
    slow = group.running
    if slow and groups.stuck(group, now) and not groups.apart.holds(slow, now):
        groups.apart.offend(slow, now)
        here.moves.wishes[slow] = Why.APART


def _order(here: Holdings, groups: Groups, model: Model | None, why: Why, now: float) -> bool:
    """Order a move, unless it has become pointless; False if only room is lacking."""
    if model is None or not _sensible(here, groups, model.name, why, now):
        return True
    number = _target(groups, model.name, why, now)
    if number is None:
        if why is Why.HELD_UP:
            _look_again(here, groups, model.name, now)
        return True
    extra = groups.first_extra(number)
    needed = room.memory_needed(here, model, extra)
    if needed <= 0 or needed > here.memory.free_bytes:
        return False
    here.memory.reserve(reserved(model.name), needed)
    here.moves.open[model.name] = number
    if number != ALONE:
        groups.invite(model.name, number, now)
    here.orders.append(events.Move(model.name, needed, number))
    return True


def _look_again(here: Holdings, groups: Groups, name: str, now: float) -> None:
    """There is no better worker now: look again when it has waited for twice as long."""
    waited_s = now - groups.of[name].line[name]
    here.moves.remind(now + max(waited_s, groups.patience_s), name, Why.HELD_UP)


def _target(groups: Groups, name: str, why: Why, now: float) -> int | None:
    """The worker that a model should move to; None: there is no better one."""
    group = groups.of.get(name)
    if why is Why.HELD_UP and group is not None and not groups.stuck(group, now):
        return groups.idle_target(now, group)
    number = groups.target(name, now, avoid=group)
    return None if number == ALONE and group is None else number


def _sensible(here: Holdings, groups: Groups, name: str, why: Why, now: float) -> bool:
    """Whether the reason for a move holds (still)."""
    model, group = here.models.get(name), groups.of.get(name)
    if model is None or model.state is not State.LOADED or name in here.moves.open:
        return False
    if group is not None and group.dead:  # it has died with the others, as will be said next
        return False
    match why:
        case Why.HELD_UP:
            held_up = group is not None and not group.free and group.running != name
            return held_up and waits(groups, name)
        case Why.APART:
            return group is not None and groups.apart.holds(name, now)
        case Why.WORN:
            return group is not None and group.worn
        case Why.SHARE:
            return group is None and name not in groups.loners
