"""The tables: medians and spread of each side, the ratios, the parts, and the numbers to hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import median
from typing import NamedTuple

Steps = dict[str, float]


class Round(NamedTuple):
    """One model through all sides, from nowhere and from the disk; milliseconds."""

    cold: Steps
    disk: Steps
    theirs_cold: float
    theirs_disk: float
    floor_cold: float
    floor_disk: float


class Seen(NamedTuple):
    """All rounds of one case over one store."""

    store: str
    case: str
    rounds: list[Round]

    def middle(self, of: Callable[[Round], float]) -> float:
        return median(map(of, self.rounds))


# design.md section 8: a name, the case, what it is and the most it may be.
HOLD: tuple[tuple[str, str, Callable[[Seen], float], float], ...] = (
    ("echo ÷ MMS", "echo", lambda s: s.middle(lambda r: r.cold["all"] / r.theirs_cold), 1 / 5),
    ("small scikit-learn, ms", "scikit-learn", lambda s: s.middle(lambda r: r.cold["all"]), 25.0),
    (
        "SqueezeNet ÷ MMS",
        "SqueezeNet (MXNet)",
        lambda s: s.middle(lambda r: r.cold["all"] / r.theirs_cold),
        1 / 15,
    ),
)


def tables(seen: list[Seen]) -> str:
    """Markdown of everything."""
    return "\n".join([*_sides(seen), "", *_parts(seen), "", *_hold(seen), ""])


def _sides(seen: list[Seen]) -> Iterable[str]:
    yield (
        "| store | model | start | ours ms (min to max) | MMS ms (min to max) | floor ms | ÷ MMS |"
        " ÷ floor |"
    )
    yield "|:--|:--|:--|--:|--:|--:|--:|--:|"
    for each in seen:
        for start, triple in (("nowhere", _cold), ("disk", _disk)):
            sides = list(zip(*map(triple, each.rounds), strict=True))
            ratios = [
                median(one / other for one, other in zip(sides[0], side, strict=True))
                for side in sides[1:]
            ]
            yield (
                f"| {each.store} | {each.case} | {start} | {_spread(sides[0])} |"
                f" {_spread(sides[1])} | {median(sides[2]):.1f} | {ratios[0]:.3f} |"
                f" {ratios[1]:.2f} |"
            )


def _cold(one: Round) -> tuple[float, float, float]:
    return one.cold["all"], one.theirs_cold, one.floor_cold


def _disk(one: Round) -> tuple[float, float, float]:
    return one.disk["all"], one.theirs_disk, one.floor_disk


def _spread(times: Iterable[float]) -> str:
    values = sorted(times)
    return f"{median(values):.1f} ({values[0]:.1f} to {values[-1]:.1f})"


def _parts(seen: list[Seen]) -> Iterable[str]:
    names = list(seen[0].rounds[0].cold)
    yield "Where ours went, medians in ms; from the disk in the second line."
    yield ""
    yield f"| store | model | {' | '.join(names)} |"
    yield "|:--|:--|" + "--:|" * len(names)
    for each in seen:
        for title, rounds in (
            (each.case, [one.cold for one in each.rounds]),
            (f"{each.case}, disk", [one.disk for one in each.rounds]),
        ):
            cells = " | ".join(f"{median(one[name] for one in rounds):.1f}" for name in names)
            yield f"| {each.store} | {title} | {cells} |"


def _hold(seen: list[Seen]) -> Iterable[str]:
    for name, case, measured, most in HOLD:
        for each in seen:
            if each.case == case:
                value = measured(each)
                word = "held" if value <= most else "NOT held"
                yield f"* {name}, {each.store}: {value:.3g}, to hold ≤ {most:.3g}: {word}."
