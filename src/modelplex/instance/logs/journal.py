"""What happened on this instance, the last of it: what `explain` and `top` are made from."""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Callable
from operator import itemgetter
from typing import Any

KEPT = 1000

TIMINGS = ("queue", "fetch", "load", "handle")

Entry = dict[str, Any]
Timings = tuple[float, float, float, float]  # seconds, in the order of TIMINGS
_Answer = tuple[int, float, str, bytes, str, int, Timings]


class Journal:
    """Numbered events, the last 1,000 answers and the last 1,000 of everything else.

    They are kept apart so that a second of traffic does not push out what explains it.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives Unix seconds."""
        self._clock = clock
        self._answers: deque[_Answer] = deque(maxlen=KEPT)
        self._others: deque[Entry] = deque(maxlen=KEPT)
        self.last = 0
        self.counters: dict[str, int] = {}

    def write(self, event: str, model: str, **facts: Any) -> None:
        """Note an event; `facts` must be JSON values."""
        self.last += 1
        self.counters[event] = self.counters.get(event, 0) + 1
        entry = {"n": self.last, "at": self._clock(), "event": event, "model": model, **facts}
        self._others.append(entry)

    def answered(
        self, model: str, request_id: bytes, start: str, status: int, seconds: Timings
    ) -> None:
        """Note an answer: an event "invoked". It is put into words when somebody asks."""
        self.last += 1
        self.counters["invoked"] = self.counters.get("invoked", 0) + 1
        self._answers.append((self.last, self._clock(), model, request_id, start, status, seconds))

    def after(self, n: int) -> dict[str, Any]:
        """The events with a number above `n`, in order, and the number to ask with next."""
        answers = list(self._answers)
        newer = answers[bisect.bisect_right(answers, n, key=itemgetter(0)) :]
        others = list(self._others)
        events = [_entry(each) for each in newer]
        events += others[bisect.bisect_right(others, n, key=itemgetter("n")) :]
        return {"next": self.last, "events": sorted(events, key=itemgetter("n"))}


def _entry(answer: _Answer) -> Entry:
    n, at, model, request_id, start, status, seconds = answer
    return {
        "n": n,
        "at": at,
        "event": "invoked",
        "model": model,
        "request_id": request_id.decode("latin-1"),
        "start": start,
        "status": status,
        **{name: round(each * 1000, 3) for name, each in zip(TIMINGS, seconds, strict=True)},
    }
