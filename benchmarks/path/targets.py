"""The numbers to hold on the warm path, each with what was measured: met or not met."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import NamedTuple

from benchmarks.path.load import Shape
from benchmarks.path.tables import Cells, middle, ratios, spread, total

_SMALL, _LARGE = Shape(1024, 8), Shape(1024 * 1024, 8)


class Hold(NamedTuple):
    """At a shape, one side's answers per second are at least so many times another's.

    Without a number the ratio is told and not judged.
    """

    shape: Shape
    mine: str
    theirs: str
    least: float | None


HOLDS = (
    Hold(_SMALL, "server", "MMS", 5.0),
    Hold(_SMALL, "server", "Triton", 2.2),
    Hold(_SMALL, "server", "hop", 0.6),
    Hold(_SMALL, "unsigned", "MMS", 3.0),
    Hold(_SMALL, "signed", "MMS", 2.0),
    Hold(_LARGE, "server", "MMS", 1.7),
    Hold(_LARGE, "server", "Triton", None),
    Hold(_LARGE, "server", "bare", None),
    Hold(_LARGE, "unsigned", "MMS", None),
    Hold(_LARGE, "signed", "MMS", None),
)
SLOWER = (("server", "MMS"), ("server", "Triton"))  # whose p99 at 1 KB is to be above ours
CPU_MOST = 2.5  # times the CPU time of the echo with one hop, the whole platform


def judged(cells: Cells) -> list[str]:
    """A table of those whose sides were measured."""
    rows = [*_rates(cells), *_times(cells), *_spending(cells)]
    if not rows:
        return []
    head = ["### The numbers to hold", "", "| what | hold | measured | |", "|---|---|---|---|"]
    return [*head, *rows, ""]


def _rates(cells: Cells) -> Iterator[str]:
    for shape, mine, theirs, least in HOLDS:
        seen = ratios(cells.get((shape, mine), []), cells.get((shape, theirs), []))
        if seen:
            hold = "none stated" if least is None else f">= {least:g}"
            verdict = "" if least is None else _verdict(median(seen) >= least)
            yield f"| {shape.text}: {mine} ÷ {theirs} | {hold} | {spread(seen)} | {verdict} |"


def _times(cells: Cells) -> Iterator[str]:
    for mine, theirs in SLOWER:
        a, b = middle(cells.get((_SMALL, mine), [])), middle(cells.get((_SMALL, theirs), []))
        if a and b:
            times = f"{a.p99_ms:.2f} ms, {b.p99_ms:.2f} ms"
            verdict = _verdict(a.p99_ms < b.p99_ms)
            yield f"| {_SMALL.text}: p99 of {mine}, of {theirs} | lower | {times} | {verdict} |"


def _spending(cells: Cells) -> Iterator[str]:
    floor = total(cells.get((_SMALL, "hop"), []))
    for mine in ("unsigned", "signed"):
        spent = total(cells.get((_SMALL, mine), []))
        if floor and spent:
            ratio = spent / floor
            text = f"{ratio:.2f} ({spent:.1f} µs, {floor:.1f} µs)"
            verdict = _verdict(ratio <= CPU_MOST)
            yield f"| {_SMALL.text}: CPU of {mine} ÷ hop | <= {CPU_MOST} | {text} | {verdict} |"


def _verdict(met: bool) -> str:
    return "met" if met else "**not met**"
