"""How much memory a container has for models, when it says 507 before its instance is full.

What its models have then, and a little more than was promised to the one that was refused, is taken
for all that there is. Residency's next try asks for twice the promise: so one model of the usual
size leaves for it, and not as many as would make that room in the whole instance. The container
is believed to have more again when it has not refused for a while.
"""

from __future__ import annotations

PROMISE_SHARE = 1 / 3  # of a promise, which is half as much again as models take on average
FULL_FOR_S = 60.0


class Fullness:
    """Bytes; `whole` is what the instance has for models, `now` in seconds."""

    def __init__(self) -> None:
        self._bytes = 0
        self._until = 0.0

    def refused(self, used: int, promised: int, whole: int, now: float) -> None:
        """The container had no memory for a model. `used` is what all were promised, this too."""
        seen = int(used + PROMISE_SHARE * promised)
        self._bytes = max(1, min(seen, self.limit(whole, now)))
        self._until = now + FULL_FOR_S

    def limit(self, whole: int, now: float) -> int:
        """What there is for models."""
        return min(whole, self._bytes) if now < self._until else whole
