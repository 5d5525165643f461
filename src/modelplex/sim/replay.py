"""A fact log played into a residency again: does it decide now as it did then?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from modelplex.core.log import checkpoint, factlog
from modelplex.sim.recording import segments
from modelplex.sim.trace import open_text


@dataclass(frozen=True, slots=True)
class Difference:
    """The first fact that was answered by other orders, and both answers."""

    line: int  # of the log, counted from 1
    now: float
    fact: str
    recorded: tuple[str, ...]
    ordered: tuple[str, ...]
    segment: str = ""  # the file of the log, if it has several


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a replay came to."""

    facts: int  # that were answered as recorded
    orders: int
    seconds: float  # of the log, from its first fact to the last one played
    difference: Difference | None = None


def replay_log(path: Path) -> Outcome:
    """A whole log, all of its segments: see `replay`. Its difference is in the `segment` named."""
    facts, orders, seconds = 0, 0, 0.0
    for segment in segments(path):
        with open_text(segment) as lines:
            played = replay(lines)
        facts, orders = facts + played.facts, orders + played.orders
        seconds += played.seconds
        if played.difference:
            return Outcome(facts, orders, seconds, replace(played.difference, segment=str(segment)))
    return Outcome(facts, orders, seconds)


def replay(lines: Iterable[str]) -> Outcome:
    """Hand in every fact until one is answered otherwise, or breaks what must hold.

    Raises factlog.BadLog and checkpoint.BadCheckpoint.
    """
    remaining = iter(lines)
    head = factlog.read_head(next(remaining, ""))
    residency = checkpoint.restore(head.checkpoint)
    facts = orders = 0
    first = last = None
    for entry in factlog.read(remaining):
        first, last = (entry.now if first is None else first), entry.now
        recorded = tuple(map(factlog.text, entry.orders))
        try:
            ordered = tuple(map(factlog.text, residency.handle(entry.fact, entry.now)))
        except (AssertionError, KeyError) as error:
            ordered = (f"{type(error).__name__}: {error}",)
        if ordered != recorded:
            found = Difference(facts + 2, entry.now, factlog.text(entry.fact), recorded, ordered)
            return Outcome(facts, orders, last - first, found)
        facts, orders = facts + 1, orders + len(ordered)
    return Outcome(facts, orders, (last or 0.0) - (first or 0.0))
