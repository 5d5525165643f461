"""What happened on this instance, the last of it: what `explain` and `top` are made from."""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Callable
from typing import Any

KEPT = 1000

Entry = dict[str, Any]


class Journal:
    """Numbered events, the last 1,000 answers and the last 1,000 of everything else.

    They are kept apart so that a second of traffic does not push out what explains it.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives Unix seconds."""
        self._clock = clock
        self._answers: deque[Entry] = deque(maxlen=KEPT)
        self._others: deque[Entry] = deque(maxlen=KEPT)
        self.last = 0
        self.counters: dict[str, int] = {}

    def write(self, event: str, model: str, **facts: Any) -> None:
        """Note an event; `facts` must be JSON values."""
        self.last += 1
        self.counters[event] = self.counters.get(event, 0) + 1
        entry = {"n": self.last, "at": self._clock(), "event": event, "model": model, **facts}
        (self._answers if event == "invoked" else self._others).append(entry)

    def after(self, n: int) -> dict[str, Any]:
        """The events with a number above `n`, in order, and the number to ask with next."""
        events = [entry for each in (self._answers, self._others) for entry in _after(each, n)]
        return {"next": self.last, "events": sorted(events, key=_number)}


def _after(entries: deque[Entry], n: int) -> list[Entry]:
    found = list(entries)
    return found[bisect.bisect_right(found, n, key=_number) :]


def _number(entry: Entry) -> int:
    return int(entry["n"])
