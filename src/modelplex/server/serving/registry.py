"""Which names are taken by which models, in the order of the names; and why some are not there."""

from __future__ import annotations

import re
from bisect import bisect_right, insort
from collections.abc import Iterator

from modelplex.server.errors import BadRequest, Conflict, ModelNotFound, OutOfResources
from modelplex.server.serving.model import Model

NAME_MAX = 1024  # characters
_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_FAILURES_MAX = 1000  # beyond that, the oldest are forgotten


class Registry:
    """At most `models_max` models."""

    def __init__(self, models_max: int) -> None:
        self.version = 0  # changes with the set of models
        self._models_max = models_max
        self._models: dict[str, Model] = {}
        self._names: list[str] = []  # sorted
        self._failures: dict[str, str] = {}  # oldest first

    def __iter__(self) -> Iterator[Model]:
        """All of them now; models may come and go meanwhile."""
        return iter(list(self._models.values()))

    def check_free(self, name: str) -> None:
        """Raises BadRequest for what cannot be a name, Conflict for one that is taken, and
        OutOfResources when there is no more room."""
        if not 0 < len(name) <= NAME_MAX or _BREAKS.search(name):
            rule = f"1 to {NAME_MAX} characters without line ends and control characters"
            raise BadRequest(f"A model's name must be {rule}, not {name[:200]!r}.")
        if name in self._models:
            raise Conflict(f"Model {name} is already registered.")
        if len(self._models) >= self._models_max:
            raise OutOfResources(f"{len(self._models)} models are registered; no more are allowed.")

    def add(self, model: Model) -> None:
        """A model whose name is free."""
        self._failures.pop(model.name, None)
        self._models[model.name] = model
        insort(self._names, model.name)
        self.version += 1

    def remove(self, model: Model) -> None:
        """A model of which nothing is left."""
        del self._models[model.name]
        self._names.remove(model.name)
        self.version += 1

    def get(self, name: str) -> Model | None:
        """None when there is none of that name."""
        return self._models.get(name)

    def find(self, name: str) -> Model:
        """Raises ModelNotFound, with the reason if its load has failed."""
        model = self._models.get(name)
        if model is not None:
            return model
        why = self._failures.get(name)
        raise ModelNotFound(f"Model not found: {name}" + (f" ({why})" if why else ""))

    def page(self, limit: int, after: str) -> tuple[list[Model], str]:
        """At most `limit` models whose names come after `after`, and the last one's name if there
        are more."""
        start = bisect_right(self._names, after)
        names = self._names[start : start + limit]
        more = start + limit < len(self._names)
        return [self._models[name] for name in names], names[-1] if names and more else ""

    def note_failure(self, name: str, why: str) -> None:
        """What `find` says of a model that could not be loaded, until it is registered again."""
        self._failures[name] = why
        if len(self._failures) > _FAILURES_MAX:
            del self._failures[next(iter(self._failures))]
