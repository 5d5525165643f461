"""How the memory of a container is divided among its models, which nobody can measure apart.

What it grows by while models are loaded is theirs, in even parts if there are several. Whatever it
takes more or less later is everybody's, in proportion to what each had, the container's own part
too. With no model in it, all is its own. The parts always add up to the whole.

Decides nothing and asks nobody: totals come in, parts go out.
"""

from __future__ import annotations

PART_BYTES_MIN = 256 * 1024  # of a loaded model: nobody is evicted who would free nothing
GROWN_TIMES, GROWN_SHARE = 2, 0.25  # of an empty container, by its start and by its limit


class Ledger:
    """Bytes by model, and the container's own. `total` is always what all of it takes now."""

    def __init__(self, start_bytes: int) -> None:
        """`start_bytes`: what it took when it had loaded nothing yet."""
        self.base_bytes = start_bytes
        self._start_bytes = start_bytes
        self._parts: dict[str, int] = {}
        self._loading: set[str] = set()

    def part(self, model: str) -> int:
        """What a model takes; 0 for one that is not there."""
        return self._parts.get(model, 0)

    def begin(self, model: str, total: int) -> None:
        """A load begins: growth from here on is its own, or its and that of other loads."""
        self.measured(total)
        self._parts[model] = 0
        self._loading.add(model)

    def loaded(self, model: str, total: int) -> int:
        """A load is done; the model's part."""
        self.measured(total)
        self._loading.discard(model)
        missing = max(0, PART_BYTES_MIN - self._parts[model])
        lent = min(missing, self.base_bytes)
        self.base_bytes -= lent
        self._parts[model] += lent
        return self._parts[model]

    def left(self, model: str, total: int) -> int:
        """A model has left, or was never loaded; how many bytes came back."""
        before = self._sum()
        self._loading.discard(model)
        self._parts.pop(model, None)
        self.measured(total)
        return max(0, before - total)

    def measured(self, total: int) -> None:
        """What it takes now; 0, which nobody believes, changes nothing."""
        change = total - self._sum()
        if not total or not change:
            return
        if not self._parts:
            self.base_bytes = total
        elif change > 0 and self._loading:
            self._share(change, dict.fromkeys(sorted(self._loading), 1))
        else:
            self._share(change, {"": self.base_bytes, **self._parts})

    def has_grown(self, limit_bytes: int) -> bool:
        """Whether it is empty and takes far more than at its start; `limit_bytes` is all it may."""
        if self._parts:
            return False
        grown = self.base_bytes - self._start_bytes
        many_times = self.base_bytes > GROWN_TIMES * self._start_bytes
        return many_times and grown > GROWN_SHARE * limit_bytes

    def _sum(self) -> int:
        return self.base_bytes + sum(self._parts.values())

    def _share(self, change: int, weights: dict[str, int]) -> None:
        """Add a change to parts ("": the base) by their weights, to the last byte."""
        left, weight = change, sum(weights.values())
        for name, own in weights.items():
            share = left if own == weight else left * own // weight
            left, weight = left - share, weight - own
            if name:
                self._parts[name] += share
            else:
                self.base_bytes += share
