"""Who waits: requests for their model, and models for their turn."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterator

from modelplex.core.model import Model


class Requests:
    """Every request that is not done, in exactly one place: waiting, or forwarded.

    The queue of its model and the set in flight say the same.
    """

    def __init__(self, ready_timeout_s: float) -> None:
        self.ready_timeout_s = ready_timeout_s
        self.waiting: dict[int, Model] = {}
        self.forwarded: dict[int, Model] = {}  # also to workers that have died since
        # Of those that wait for a load. All get the same time, so their order is the deadlines'.
        self.deadlines: OrderedDict[int, float] = OrderedDict()
        # When one that waits for a worker may have done so for too long, at the earliest. It stays
        # when those go for whose sake it was set: a busy queue would move it all the time.
        self.look_at: float | None = None

    def enqueue(self, request: int, model: Model, now: float) -> None:
        self.waiting[request] = model
        model.enqueue(request, now)

    def await_load(self, request: int, now: float) -> None:
        self.deadlines[request] = now + self.ready_timeout_s

    def await_reload(self, model: Model, now: float) -> None:
        """Let the queue of a model that loses its worker wait as if the model were cold."""
        for request in model.queue:
            self.await_load(request, now)

    def loaded(self, model: Model) -> None:
        """Let the queue of a model wait as long as its worker is busy."""
        for request in model.queue:
            del self.deadlines[request]

    def leave(self, request: int) -> Model:
        """Take a waiting request out; its model."""
        model = self.waiting.pop(request)
        del model.queue[request]
        self.deadlines.pop(request, None)
        return model

    def next(self, model: Model) -> int:
        """Take the one that has waited longest for this model out of its queue."""
        request = next(iter(model.queue))
        del model.queue[request], self.waiting[request]
        return request

    def overdue(self, now: float) -> Iterator[int]:
        """Those whose model did not come in time. Each has to leave before the next is drawn."""
        while self.deadlines and self.first_deadline <= now:
            yield next(iter(self.deadlines))

    @property
    def first_deadline(self) -> float:
        return next(iter(self.deadlines.values()))

    def check(self) -> None:
        """Assert that every request is in one place, and in the same one everywhere."""
        assert not self.waiting.keys() & self.forwarded.keys()
        assert self.deadlines.keys() <= self.waiting.keys()
        assert list(self.deadlines.values()) == sorted(self.deadlines.values())
        assert all(request in model.queue for request, model in self.waiting.items())


class Line:
    """A queue ordered by ticket, so that who comes back after a setback stands where it stood."""

    def __init__(self) -> None:
        self.places: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self.places)

    @property
    def first(self) -> str:
        return self.places[0][1]

    def add(self, ticket: int, model: str) -> None:
        insort(self.places, (ticket, model))

    def remove(self, ticket: int, model: str) -> None:
        index = self.before(ticket, model)
        assert self.places[index] == (ticket, model), f"{model} is not in this line"
        del self.places[index]

    def before(self, ticket: int, model: str) -> int:
        """How many go first."""
        return bisect_left(self.places, (ticket, model))
