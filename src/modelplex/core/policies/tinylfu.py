"""W-TinyLFU's idea (Einziger, Friedman, Manes, 2017), where every newcomer has to be let in."""

from __future__ import annotations

from collections import OrderedDict

from modelplex.core.usage import Usage

AHEAD_S = 1e12  # those who are established stand so far above those on trial


class TinyLfu:
    """LRU in two classes: established models, and those on trial, which go first.

    A newcomer is established by having been asked for more often than the established one that
    would have to go next. Sizes and costs do not count.
    """

    def __init__(self) -> None:
        self._established: OrderedDict[str, float] = OrderedDict()  # counts, in order of last use
        self._short = False  # whether anybody ever had to go

    def score(self, model: str, usage: Usage, size_bytes: int, cost_s: float) -> float:
        """The last use, in its class."""
        return usage.last_at + (AHEAD_S if model in self._established else 0.0)

    def evicted(self, model: str, score: float, held_bytes: int) -> None:
        """It has to begin anew."""
        self._short = True
        self._established.pop(model, None)

    def watches(self, model: str) -> bool:
        """All of them."""
        return True

    def used(self, model: str, usage: Usage, size_bytes: int, cost_s: float) -> bool:
        """See which class it is in now."""
        rival = next(iter(self._established.values()), 0.0)
        if not self._short or model in self._established or usage.count > rival:
            self._established[model] = usage.count
            self._established.move_to_end(model)
        return False
