"""How much a model is asked for, and what having it again would cost: what policies weigh."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Usage:
    """Of one model on one instance. Times are the shell's clock; a cost is the mean of what was
    measured, 0.0 while nothing was.
    """

    count: float = 0.0  # requests, each counting half as much for every half-life since it came
    last_at: float = 0.0  # the last one
    before_at: float = 0.0  # the one before that
    fetch_s: float = 0.0
    load_s: float = 0.0
    handle_s: float = 0.0  # from being forwarded to being answered

    def used(self, now: float, half_life_s: float) -> None:
        """Another request."""
        if self.last_at:
            self.count *= 0.5 ** ((now - self.last_at) / half_life_s)
        self.count += 1.0
        self.before_at, self.last_at = self.last_at, now

    def fetched(self, seconds: float) -> None:
        """The artifact was fetched in so many seconds."""
        self.fetch_s = _mean(self.fetch_s, seconds)

    def loaded(self, seconds: float) -> None:
        """The model was loaded from the disk in so many seconds."""
        self.load_s = _mean(self.load_s, seconds)

    def handled(self, seconds: float) -> None:
        """A request was answered in so many seconds."""
        self.handle_s += 0.3 * (seconds - self.handle_s) if self.handle_s else seconds


def _mean(known: float, seen: float) -> float:
    """A mean in which every new value counts for three tenths."""
    return known + 0.3 * (seen - known) if known else seen
