"""Who changes the worker: the only way in which a shared worker becomes smaller, or quicker.

    HELD_UP  a request waits behind another model's for longer than its patience
    APART    the model that held others up, into a worker of its own
    WORN     what is left in a worker that has lost half of its models; it ends when it is empty
    SHARE    the time apart is over

A move is a second load beside the first, so nobody waits for it; no more than `loads_max` go on at
once, each with a reservation of its own, and nobody is evicted for one. A model that could not be
moved stays where it is, and is tried again later.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from enum import Enum
from typing import TYPE_CHECKING

from modelplex.core.model import IN_MEMORY, Model, State
from modelplex.core.sharing.groups import ALONE, Group, Groups

if TYPE_CHECKING:
    from modelplex.core.holdings import Holdings

AGAIN_S = 60.0  # after a move that failed


class Why(Enum):
    """What a move is for."""

    HELD_UP = "held_up"
    APART = "apart"
    WORN = "worn"
    SHARE = "share"


class Moves:
    """Moves that are wished for, under way, or to be thought of at some moment."""

    def __init__(self) -> None:
        self.wishes: OrderedDict[str, Why] = OrderedDict()
        self.open: dict[str, int] = {}  # model: number of the worker it goes to
        self.held_up: dict[str, float] = {}  # who waits: when to look at it next
        self._alarms: list[tuple[float, int, str, Why]] = []
        self._numbers = 0

    def remind(self, at: float, model: str, why: Why) -> None:
        """Look at a model at that moment."""
        if why is Why.HELD_UP:
            self.held_up[model] = at
        self._numbers += 1
        heapq.heappush(self._alarms, (at, self._numbers, model, why))

    def due(self, now: float) -> tuple[str, Why] | None:
        """The next one to look at, once."""
        while self._alarms and self._alarms[0][0] <= now:
            at, _, model, why = heapq.heappop(self._alarms)
            if why is not Why.HELD_UP or self.held_up.get(model) == at:
                return model, why
        return None

    def next_alarm(self, groups: Groups | None) -> float | None:
        """When to look next; reminders of those who wait no more are left out."""
        while groups is not None and self._alarms:
            at, _, model, why = self._alarms[0]
            if why is not Why.HELD_UP or (self.held_up.get(model) == at and waits(groups, model)):
                return at
            heapq.heappop(self._alarms)
        return None


def reserved(model: str) -> str:
    """Under this name a move holds memory. No model's name begins with a line feed."""
    return f"\n{model}"


def waits(groups: Groups, name: str) -> bool:
    """Whether it stands in its worker's line."""
    group = groups.of.get(name)
    return group is not None and name in group.line


def wait(here: Holdings, model: Model, now: float) -> None:
    """A loaded model has a request that is not its turn."""
    if here.groups is not None and here.groups.wait(model.name, now):
        here.moves.remind(now + here.groups.patience_s, model.name, Why.HELD_UP)


def began(here: Holdings, model: Model, request: int, now: float) -> None:
    """A request was forwarded; if the model has more of them, it stands in line again."""
    if here.groups is not None:
        here.groups.begin(model.name, request, now)
        if model.queue:
            wait(here, model, now)


def quit_line(here: Holdings, model: Model) -> None:
    """Nobody waits for a loaded model any more."""
    if here.groups is not None:
        here.groups.quit_line(model.name)


def brought(here: Holdings, name: str, *, alone: bool) -> None:
    """An artifact has come, which allows its model to share a worker, or does not."""
    if here.groups is not None:
        (here.groups.loners.add if alone else here.groups.loners.discard)(name)


def loaded(here: Holdings, model: Model, size: int, now: float) -> bool:
    """A load has ended well; whether its size says nothing of what a further model takes."""
    groups = here.groups
    if groups is None:
        return False
    first = groups.loaded(model.name, size, now)
    group = groups.of.get(model.name)
    if group is not None and group.worn:
        here.moves.wishes[model.name] = Why.WORN
    elif group is None and model.name not in groups.loners:
        here.moves.remind(max(now, groups.apart.ends(model.name)), model.name, Why.SHARE)
    return first


def left(here: Holdings, model: Model, now: float, *, loading: bool = False) -> None:
    """A model has no worker any more; if that is worn now, the others leave it."""
    groups = here.groups
    if groups is None or (group := groups.of.get(model.name)) is None:
        return
    before = group.worn
    groups.leave(model.name, now, loading)
    if group.worn and not before:
        _wish_all(here, group)


def moved(here: Holdings, model: Model, size: int, now: float) -> None:
    """A model answers from another worker."""
    assert here.groups is not None
    number = here.moves.open.pop(model.name)
    here.memory.release(reserved(model.name))
    group = here.groups.of.get(model.name)
    before = group is None or group.worn
    here.groups.moved(model.name, number, now)
    if group is not None and group.worn and not before:
        _wish_all(here, group)
    if number == ALONE:
        here.moves.remind(here.groups.apart.ends(model.name), model.name, Why.SHARE)
    here.memory.reserve(model.name, size)
    model.known_memory_bytes = size


def failed(here: Holdings, name: str, now: float) -> None:
    """A model stays where it is, if it still is anywhere."""
    assert here.groups is not None
    number = here.moves.open.pop(name)
    here.memory.release(reserved(name))
    if here.groups.stayed_away(name, number, now):
        here.groups.apart.offend(name, now)
    for why in (Why.WORN, Why.APART, Why.SHARE):
        here.moves.remind(now + AGAIN_S, name, why)
    if waits(here.groups, name):
        here.moves.remind(now + here.groups.patience_s, name, Why.HELD_UP)


def crashed(here: Holdings, model: Model, now: float, worker_lives: bool = False) -> bool:
    """A model's worker died, or the model alone; whether it was this model that did it."""
    if here.groups is None:
        return True
    guilty = here.groups.crashed(model.name, now, worker_lives)
    left(here, model, now, loading=model.state is State.LOADING)
    return guilty


def _wish_all(here: Holdings, group: Group) -> None:
    for name in group.members:
        here.moves.wishes.setdefault(name, Why.WORN)


def check(here: Holdings) -> None:
    """Assert that groups, moves and models say the same."""
    groups = here.groups
    if groups is None:
        return
    assert not groups.freed, groups.freed
    for group in groups.all.values():
        _check_group(here, groups, group)
    for name, at in groups.of.items():
        assert groups.all.get(at.number) is at, f"{name} is in a worker that is gone"
        assert here.models[name].state in IN_MEMORY, here.models[name]
    reservations = {name for name in here.memory.held if name.startswith(reserved(""))}
    assert reservations == set(map(reserved, here.moves.open)), reservations
    for name, number in here.moves.open.items():
        assert number == ALONE or name in groups.all[number].guests, f"{name} moves to nowhere"


def _check_group(here: Holdings, groups: Groups, group: Group) -> None:
    members = [here.models[name] for name in group.members]
    assert 0 < group.size <= here.limits.models_per_worker, group
    assert all(groups.of.get(model.name) is group for model in members), group
    loading = {model.name for model in members if model.state is State.LOADING}
    assert group.arriving.keys() == loading | group.guests.keys(), group
    runs = [model for run, model, _ in groups.runs.values() if run is group]
    assert runs == ([group.running] if group.running else []), runs
    assert group.line.keys() <= group.members.keys(), group
    waiting = [m.name for m in members if m.state is State.LOADED and m.queue]
    assert group.line.keys() >= set(waiting), waiting
