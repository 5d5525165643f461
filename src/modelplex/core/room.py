"""How much room a model needs, and who has to make it. Nothing here changes anything.

Those go that the policy ranks lowest, the idle before the busy, and no more than needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice

from modelplex.core.budget import Budget
from modelplex.core.holdings import Holdings
from modelplex.core.model import Model, State

KNOWN_MARGIN = 1.1  # on what this very model took the last time
TWINS_MAX = 64  # looked at for a guess
GUESS_MARGIN = 1.5  # on what others took

Candidates = Iterator[tuple[Model, int]]
Kind = Callable[[Iterable[Model], float], Iterator[Model]]


def ceiling_bytes(here: Holdings, budget: Budget, model: Model) -> int:
    """The most that this model could ever get: all but what loaded models hold that are pinned, and
    what the version holds that serves while this one is brought beside it.
    """
    pinned = {name for name, other in here.pinned.items() if other.state is State.LOADED}
    staying = (pinned | {here.versions.incumbent(model.name)}) - {model.name}
    return budget.capacity_bytes - sum(map(budget.of, staying))


def memory_needed(here: Holdings, model: Model, extra_bytes: int = 0) -> int:
    """What to reserve for a load, and besides; not above 0 if there can be no room for it."""
    guess = here.footprints.memory_guess(model.known_disk_bytes)
    if known := _twin_bytes(here, model) or model.known_memory_bytes:
        needed = known * KNOWN_MARGIN
    elif guess is not None:
        needed = guess * GUESS_MARGIN
    else:
        needed = max(here.limits.memory_guess_bytes, model.known_disk_bytes)
    ceiling = ceiling_bytes(here, here.memory, model)
    return min(max(int(needed) + extra_bytes, model.least_memory_bytes, 1), ceiling)


def _twin_bytes(here: Holdings, model: Model) -> int:
    """The most that a loaded model of the same content takes now, since this one will share what
    they share; 0 if there is none.
    """
    names = islice(here.disk.twins(model.name), TWINS_MAX)
    twins = (here.models.get(name) for name in names)
    loaded = (twin for twin in twins if twin is not None and twin.state is State.LOADED)
    return max((twin.known_memory_bytes for twin in loaded), default=0)


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
    held = here.memory.held
    return ((model, held[model.name]) for model in _loaded(here, now, idle, busy, newcomers))


def _loaded(here: Holdings, now: float, *kinds: Kind) -> Iterator[Model]:
    """Loaded models of these kinds, kind after kind, each as the policy ranks them."""
    return chain.from_iterable(kind(here.memory_ranking.ascending(), now) for kind in kinds)


def disk_candidates(here: Holdings, ticket: int, now: float) -> Candidates:
    """Who may have to leave the disk for the holder of this ticket, and how much each would free.

    Those that only lie there come first, then those that leave memory already (one has to wait for
    them), then idle loaded ones; then those that are waited for, though never for longer; then
    busy ones. Byte-identical ones free their common place only together, each its share of it.
    """
    leaving = [*here.draining.values(), *here.unloading.values()]
    victims = chain(
        resting(here),
        (model for model in leaving if model.ticket is None),
        _loaded(here, now, idle),
        _behind(reversed(here.on_disk.values()), ticket),
        _behind(leaving, ticket),
        _loaded(here, now, busy, newcomers),
    )
    return ((model, here.disk.share_bytes(model.name)) for model in victims)


def sparing(here: Holdings, model: Model, candidates: Candidates) -> Candidates:
    """The candidates that have to make room for a model: not the version that it is to replace."""
    incumbent = here.versions.incumbent(model.name)
    return ((other, size) for other, size in candidates if other.name != incumbent)


def _behind(models: Iterable[Model], ticket: int) -> Iterator[Model]:
    """Those that are waited for, but not for as long as the holder of this ticket."""
    return (model for model in models if model.ticket is not None and model.ticket > ticket)


def resting(here: Holdings) -> Iterator[Model]:
    """Models that are on the disk and that nobody waits for, as the policy ranks them."""
    return (model for model in here.disk_ranking.ascending() if model.ticket is None)


def idle(loaded: Iterable[Model], now: float) -> Iterator[Model]:
    """Loaded models without work, in the order given. Pinned ones never go."""
    return (m for m in _unprotected(loaded, now) if m.idle and m.tenure_ends <= now)


def busy(loaded: Iterable[Model], now: float) -> Iterator[Model]:
    """Loaded models that would have to be drained.

    Not those whose tenure has not ended: a model keeps its place for as long as it took to load, at
    most `Limits.tenure_max_s`, while it has work. Else two hot models with room for one would be
    loaded for every single answer.
    """
    return (m for m in _unprotected(loaded, now) if not m.idle and m.tenure_ends <= now)


def newcomers(loaded: Iterable[Model], now: float) -> Iterator[Model]:
    """Those without work whose tenure has not ended: only if nobody else will do.

    They have just come in, and who asked for them may well ask again.
    """
    return (m for m in _unprotected(loaded, now) if m.idle and m.tenure_ends > now)


def _unprotected(loaded: Iterable[Model], now: float) -> Iterator[Model]:
    return (m for m in loaded if not m.pinned and m.stays_until <= now)


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
