"""Models that must not share a worker for a while: they held others up, or killed them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

APART_MIN_S, APART_MAX_S = 60.0, 6 * 3600.0  # the first time; at most, however often it happens


@dataclass(slots=True)
class Mark:
    """Until when, and for how long the last time; the next time it is twice as long."""

    until: float
    span_s: float


class Apart:
    """The marks of one instance's models; the oldest are forgotten when they are too many."""

    def __init__(self, marks_max: int) -> None:
        self.marks: OrderedDict[str, Mark] = OrderedDict()
        self._marks_max = marks_max

    def __contains__(self, model: str) -> bool:
        """Whether it ever offended, as far as is remembered."""
        return model in self.marks

    def ends(self, model: str) -> float:
        """When its time apart ends, or ended; 0.0 if it never was."""
        mark = self.marks.get(model)
        return mark.until if mark else 0.0

    def holds(self, model: str, now: float) -> bool:
        """Whether it has to be apart now."""
        mark = self.marks.get(model)
        return mark is not None and mark.until > now

    def offend(self, model: str, now: float) -> float:
        """It did it (again): the end of its time apart."""
        mark = self.marks.setdefault(model, Mark(now, APART_MIN_S / 2))
        mark.span_s = min(2 * mark.span_s, APART_MAX_S)
        mark.until = now + mark.span_s
        self.marks.move_to_end(model)
        if len(self.marks) > self._marks_max:
            self.marks.popitem(last=False)
        return mark.until

    def prolong(self, model: str, now: float) -> float:
        """It was slow again where nobody minded: its time begins anew. Returns the end."""
        mark = self.marks[model]
        mark.until = now + mark.span_s
        return mark.until
