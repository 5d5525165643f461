"""A memory that is not there: names in a dictionary instead of models, to see what would come."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush, heapreplace

from modelplex.core.policies.aging import score


@dataclass(slots=True)
class Seen:
    """What is known of a model at its last use."""

    last_at: float
    worth: float


class Ghost:
    """Lives on the same requests as the real memory, with a half-life of its own.

    The scores in the heap are of when a model came in or last stood first. Uses make them rise, so
    the one that stands first is looked at again before it goes.
    """

    def __init__(self, half_life_s: float, seen: dict[str, Seen]) -> None:
        self.half_life_s = half_life_s
        self.paid_s = 0.0  # for loading models, lately
        self.held_bytes = 0
        self.here: dict[str, int] = {}  # sizes
        self._seen = seen
        self._heap: list[tuple[float, str]] = []

    def admit(self, model: str, size_bytes: int, cost_s: float) -> None:
        """A model was asked for that is not here."""
        self.paid_s += cost_s
        self.here[model] = size_bytes
        self.held_bytes += size_bytes
        heappush(self._heap, (self._score(model), model))

    def shrink(self, room_bytes: float) -> list[str]:
        """Let go what does not fit, but for one; who went."""
        gone = []
        while self.held_bytes > room_bytes and len(self._heap) > 1:
            held, model = self._heap[0]
            if self._score(model) > held:
                heapreplace(self._heap, (self._score(model), model))
            else:
                heappop(self._heap)
                self.held_bytes -= self.here.pop(model)
                gone.append(model)
        return gone

    def keep(self, models: set[str]) -> None:
        """Forget all but these."""
        self.here = {model: size for model, size in self.here.items() if model in models}
        self.held_bytes = sum(self.here.values())
        self._heap = [(self._score(model), model) for model in self.here]
        heapify(self._heap)

    def _score(self, model: str) -> float:
        seen = self._seen[model]
        return score(self.half_life_s, seen.worth, seen.last_at)
