"""Models in the order in which a policy would let them leave.

A score is asked for when the order is, and only for models that were touched since: a request
costs one entry in a dictionary, an eviction what its newly used models cost.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator

from modelplex.core.model import Model
from modelplex.core.policies import Policy

Measure = Callable[[Model], tuple[int, float]]
Place = tuple[float, float, str]  # score, last use, name: unique, and ties go by last use


class Ranking:
    """The models of one tier, memory or disk.

    `measure` says what a model takes there, in bytes, and what it costs to have it back once it has
    left, in seconds: see `measures`. A checkpoint holds it too.
    """

    def __init__(self, policy: Policy, measure: Measure) -> None:
        self.policy = policy
        self._measure = measure
        self._models: dict[str, Model] = {}
        self._used_at: dict[str, float] = {}
        self._touched: dict[str, None] = {}
        self._places: dict[str, tuple[Place, int]] = {}  # with the bytes that it takes
        self._order: list[Place] = []
        self._held_bytes = 0

    def __len__(self) -> int:
        return len(self._models)

    def __contains__(self, model: Model) -> bool:
        return model.name in self._models

    def touch(self, model: Model) -> None:
        """Note that a model is new here, was used, or takes or costs something else than before."""
        name, used_at = model.name, model.usage.last_at
        self._models[name] = model
        self._touched[name] = None
        if self._used_at.get(name) == used_at:
            return
        self._used_at[name] = used_at
        if self.policy.watches(name):
            void = self.policy.used(name, model.usage, *self._measure(model))
            self._touched.update(dict.fromkeys(self._models) if void else {})

    def evict(self, model: Model) -> None:
        """Take out a model that has to make room: the policy learns from it."""
        score = self.score(model)
        self.policy.evicted(model.name, score, self._held_bytes)
        self.remove(model)

    def remove(self, model: Model) -> None:
        """Take out a model that leaves for another reason. Does nothing if it is not here."""
        if self._models.pop(model.name, None) is not None:
            del self._used_at[model.name]
            self._touched.pop(model.name, None)
            self._leave(model.name)

    def score(self, model: Model) -> float:
        """What the policy holds of a model that is here."""
        if model.name in self._touched:
            del self._touched[model.name]
            self._place(model)
        return self._places[model.name][0][0]

    def ascending(self) -> Iterator[Model]:
        """Who leaves first, first. To be used up before the next change."""
        self._settle()
        for _, _, name in self._order:
            yield self._models[name]

    def check(self) -> None:
        """Assert that every model has its one place."""
        self._settle()
        assert self._order == sorted(place for place, _ in self._places.values())
        assert self._models.keys() == self._places.keys() == self._used_at.keys()
        assert self._held_bytes == sum(size for _, size in self._places.values())

    def _settle(self) -> None:
        """Give everybody who was touched their new places; many at once are sorted anew."""
        touched, self._touched = self._touched, {}
        if len(touched) > 32 and 4 * len(touched) > len(self._models):
            self._order = []
            for name in touched:
                self._order.append(self._assess(self._models[name]))
            others = self._places.keys() - touched.keys()
            self._order += [self._places[name][0] for name in others]
            self._order.sort()
            return
        for name in touched:
            self._place(self._models[name])

    def _place(self, model: Model) -> None:
        self._leave(model.name)
        insort(self._order, self._assess(model))

    def _assess(self, model: Model) -> Place:
        """Ask for the score and note it, but for the order."""
        size, cost = self._measure(model)
        score = self.policy.score(model.name, model.usage, size, cost)
        place = (score, model.usage.last_at, model.name)
        _, before = self._places.get(model.name, (None, 0))
        self._held_bytes += size - before
        self._places[model.name] = (place, size)
        return place

    def _leave(self, name: str) -> None:
        if found := self._places.pop(name, None):
            place, size = found
            self._held_bytes -= size
            del self._order[bisect_left(self._order, place)]
