"""Who has to go: the least recently used, the idle before the busy, and no more than needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from modelplex.core.model import Model


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
