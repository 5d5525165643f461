"""How much room a model needs, and who has to make it. Nothing here changes anything.

The least recently used go, the idle before the busy, and no more than needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from modelplex.core.budget import Budget
from modelplex.core.holdings import Holdings
from modelplex.core.model import Model, State

KNOWN_MARGIN = 1.1  # on what this very model took the last time
GUESS_MARGIN = 1.5  # on what others took

Candidates = Iterator[tuple[Model, int]]


def ceiling_bytes(here: Holdings, budget: Budget, model: Model) -> int:
    """The most that this model could ever get: all but what loaded models hold that are pinned."""
    pinned = (other for other in here.pinned.values() if other.state is State.LOADED)
    return budget.capacity_bytes - sum(budget.of(m.name) for m in pinned if m is not model)


def memory_needed(here: Holdings, model: Model) -> int:
    """What to reserve for a load; not above 0 if there can be no room for it."""
    guess = here.footprints.memory_guess(model.known_disk_bytes)
    if model.known_memory_bytes:
        needed = model.known_memory_bytes * KNOWN_MARGIN
    elif guess is not None:
        needed = guess * GUESS_MARGIN
    else:
        needed = max(here.limits.memory_guess_bytes, model.known_disk_bytes)
    ceiling = ceiling_bytes(here, here.memory, model)
    return min(max(int(needed), model.least_memory_bytes, 1), ceiling)


def disk_needed(here: Holdings, model: Model) -> int:
    """What to reserve for a fetch; more than its ceiling if it is known not to fit.

    An artifact of unknown size gets an equal share of what is free, if that is more than others
    took: an overrun costs a second download, a generous reservation nothing.
    """
    disk, ceiling = here.disk, ceiling_bytes(here, here.disk, model)
    if model.least_disk_bytes > ceiling:
        return model.least_disk_bytes
    if model.known_disk_bytes:
        needed = model.known_disk_bytes * KNOWN_MARGIN
    else:
        usual = here.footprints.usual_disk_bytes
        guess = disk.capacity_bytes / 8 if usual is None else usual * GUESS_MARGIN
        needed = max(guess, disk.free_bytes / here.limits.fetches_max)
    return min(max(int(needed), model.least_disk_bytes, 1), ceiling)


def memory_candidates(here: Holdings, now: float) -> Candidates:
    """Who may have to leave memory, the first first, and how much each would free."""
    loaded, held = here.loaded.values(), here.memory.held
    victims = chain(idle(loaded), busy(loaded, now))
    return ((model, held[model.name]) for model in victims)


def disk_candidates(here: Holdings, ticket: int, now: float) -> Candidates:
    """Who may have to leave the disk for the holder of this ticket, and how much each would free.

    Those that only lie there come first, then those that leave memory already (one has to wait for
    them), then idle loaded ones; then those that are waited for, though never for longer; then
    busy ones.
    """
    loaded, held = here.loaded.values(), here.disk.held
    leaving = [*here.draining.values(), *here.unloading.values()]
    victims = chain(
        resting(here),
        (model for model in leaving if model.ticket is None),
        idle(loaded),
        _behind(reversed(here.on_disk.values()), ticket),
        _behind(leaving, ticket),
        busy(loaded, now),
    )
    return ((model, held[model.name]) for model in victims)


def _behind(models: Iterable[Model], ticket: int) -> Iterator[Model]:
    """Those that are waited for, but not for as long as the holder of this ticket."""
    return (model for model in models if model.ticket is not None and model.ticket > ticket)


def resting(here: Holdings) -> Iterator[Model]:
    """Models that are on the disk and that nobody waits for, in order of last use."""
    return (model for model in here.on_disk.values() if model.ticket is None)


def idle(loaded: Iterable[Model]) -> Iterator[Model]:
    """Loaded models without work, in the order given (of last use). Pinned ones never go."""
    return (model for model in loaded if model.idle and not model.pinned)


def busy(loaded: Iterable[Model], now: float) -> Iterator[Model]:
    """Loaded models that would have to be drained.

    Not those whose turn has not ended: a model keeps its place for as long as it took to load, at
    most `Limits.turn_max_s`, while it has work. Else two hot models with room for one would be
    loaded for every single answer.
    """
    return (m for m in loaded if not m.idle and not m.pinned and m.turn_ends <= now)


def choose(candidates: Iterable[tuple[Model, int]], needed_bytes: int) -> list[Model]:
    """The victims that free `needed_bytes`, in order of the candidates; none if all do not suffice.

    Candidates come in the order in which they may go, each with the bytes it would free. Of those
    passed on the way, the ones that turn out not to be needed are spared, the latest first: a
    large victim often makes the small ones before it unnecessary.
    """
    chosen: list[tuple[Model, int]] = []
    surplus = -needed_bytes
    for model, size in candidates:
        if surplus >= 0:
            break
        if size > 0:
            chosen.append((model, size))
            surplus += size
    if surplus < 0:
        return []
    victims = []
    for model, size in reversed(chosen):
        if size <= surplus:
            surplus -= size
        else:
            victims.append(model)
    return victims[::-1]
