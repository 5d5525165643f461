"""What was measured, as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from benchmarks.path.costs import Cost
from benchmarks.path.load import Shape
from benchmarks.sides import Load

Key = tuple[Shape, str]  # of a cell: the shape, the side's name
NONE = "-"
AGAINST = ("hop", "MMS", "Triton")


@dataclass(frozen=True, slots=True)
class Cell:
    """One round of one side at one shape; without a load, why it failed."""

    load: Load | None
    costs: Mapping[str, Cost]
    failure: str


Cells = Mapping[Key, list[Cell]]


class Division(NamedTuple):
    """Part -> CPU microseconds per answer of one process, and on how many samples of Python."""

    parts: Mapping[str, float]
    samples: int


def rates(cells: Iterable[Cell]) -> list[float | None]:
    """Answers per second, round by round."""
    return [None if cell.load is None else cell.load.rate for cell in cells]


def ratios(mine: list[Cell], theirs: list[Cell]) -> list[float]:
    """Of the rates, round by round: both sides of each were measured within seconds."""
    pairs = zip(rates(mine), rates(theirs), strict=False)
    return [a / b for a, b in pairs if a is not None and b]


def middle(cells: list[Cell]) -> Load | None:
    """The medians of the rounds that succeeded."""
    loads = [cell.load for cell in cells if cell.load is not None]
    return Load(*map(median, zip(*loads, strict=True))) if loads else None


def cost(cells: list[Cell], role: str) -> float:
    """CPU microseconds per answer of a role, the median of the rounds."""
    seen = [cell.costs[role].cpu_us for cell in cells if role in cell.costs]
    return median(seen) if seen else 0.0


def total(cells: list[Cell]) -> float | None:
    """CPU microseconds per answer of all roles, the median of the rounds; None if all failed."""
    seen = [sum(each.cpu_us for each in cell.costs.values()) for cell in cells if cell.costs]
    return median(seen) if seen else None


def spread(values: list[float], digits: int = 2) -> str:
    """The median, and the least and the greatest in brackets."""
    if not values:
        return NONE
    texts = [f"{value:.{digits}f}" for value in (median(values), min(values), max(values))]
    return f"{texts[0]} ({texts[1]} to {texts[2]})"


def speed(cells: Cells, shapes: list[Shape]) -> list[str]:
    """Answers per second and their times, with ratios to the floor and to the fastest peers."""
    against = [name for name in AGAINST if any(key[1] == name for key in cells)]
    head = _row("shape", "side", "/s", "p50 ms", "p99 ms", *(f"÷ {name}" for name in against))
    lines = ["### Answers per second", "", head]
    lines.append("|---|---|" + "--:|" * (3 + len(against)))
    for shape in shapes:
        rows = {side: seen for (at, side), seen in cells.items() if at == shape}
        for side, seen in rows.items():
            load = middle(seen)
            if load is None:
                lines.append(f"| {shape.text} | {side} | failed: {_plain(seen[0].failure)} |")
                continue
            beside = [spread(ratios(seen, rows.get(name, []))) for name in against]
            values = [f"{load.rate:,.0f}", f"{load.p50_ms:.2f}", f"{load.p99_ms:.2f}", *beside]
            lines.append(_row(shape.text, side, *values))
    return [*lines, ""]


def _plain(text: str) -> str:
    return " ".join(text.replace("|", "/").split())[-120:]


def _row(*columns: str) -> str:
    return f"| {' | '.join(columns)} |"


def spending(cells: Cells, shapes: list[Shape]) -> list[str]:
    """CPU time and context switches per answer, by process."""
    lines = ["### CPU time per answer", ""]
    lines += [
        _row("shape", "side", "µs", "by process, µs", "context switches"),
        "|---|---|--:|---|--:|",
    ]
    for shape in shapes:
        for (at, side), seen in cells.items():
            whole = total(seen)
            if at != shape or whole is None:
                continue
            roles = list(next(cell for cell in seen if cell.costs).costs)
            each = ", ".join(f"{role} {cost(seen, role):.1f}" for role in roles)
            switches = median(
                sum(spent.switches for spent in cell.costs.values()) for cell in seen if cell.costs
            )
            lines.append(_row(shape.text, side, f"{whole:.1f}", each, f"{switches:.2f}"))
    return [*lines, ""]


def counts(found: Mapping[str, Mapping[str, Mapping[str, float]]], calls: str) -> list[str]:
    """System calls and allocations per answer, by process."""
    if not found:
        return []
    lines = ["### System calls and Python allocations per answer (1 KB, 8 connections)", ""]
    lines += [_row("side", "process", "system calls", "allocations"), "|---|---|--:|--:|"]
    for side, roles in found.items():
        for role, events in roles.items():
            others = [count for name, count in events.items() if name != calls]
            blocks = f"{others[0]:.1f}" if others else NONE
            said = f"{events[calls]:.2f}" if calls in events else NONE
            lines.append(_row(side, role, said, blocks))
    return [*lines, ""]


def where(profiles: Mapping[str, Mapping[str, Division]]) -> list[str]:
    """Microseconds per answer by part, a column for each process of each of our sides."""
    columns = {
        f"{side}: {role}": found for side in profiles for role, found in profiles[side].items()
    }
    if not columns:
        return []
    sums: Counter[str] = Counter()
    for each in columns.values():
        sums.update(each.parts)
    lines = ["### Where each microsecond goes (1 KB, 8 connections)", ""]
    lines.append("CPU µs per answer, measured without a profiler and divided as its samples are.")
    lines += ["", _row("part", *columns), "|---|" + "--:|" * len(columns)]
    for part, _ in sums.most_common():
        lines.append(_row(part, *(_cell(each.parts.get(part, 0.0)) for each in columns.values())))
    whole = (sum(each.parts.values()) for each in columns.values())
    lines.append(_row("**all**", *(f"**{value:.1f}**" for value in whole)))
    lines.append(_row("samples of Python", *(str(each.samples) for each in columns.values())))
    return [*lines, ""]


def _cell(value: float) -> str:
    """With one digit; empty if that is 0."""
    text = f"{value:.1f}"
    return "" if text == "0.0" else text
