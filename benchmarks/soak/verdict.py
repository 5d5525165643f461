"""Whether what was watched stayed flat: first, last, least, most, slope, and a word.

The slope is that of the straight line which fits the last two thirds of the samples best, so that
warming up does not count. It is flat if along these two thirds it makes out no more than the noise:
the largest of twice the samples' standard deviation from the line, 3 % of their mean, and an
absolute amount below which nothing is worth a word (NOISE); and also if the last third's median
was reached before, for what leaks goes where it never was. Less than MIN_SAMPLES say nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from benchmarks.soak.watching import Sample

MIN_SAMPLES = 6
NOISE = {
    "processes": 2.0,
    "PSS MiB": 2.0,
    "RSS MiB": 4.0,
    "descriptors": 8.0,
    "threads": 2.0,
    "size MiB": 8.0,
}
HEAD = (
    "| role | what | first | last | least | most | slope per hour | verdict |",
    "|---|---|--:|--:|--:|--:|--:|---|",
)


def table(at_s: Sequence[float], samples: Sequence[Sample]) -> list[str]:
    """A row for everything that was watched."""
    return [*HEAD, *_rows(at_s, samples)]


def grows(at_s: Sequence[float], values: Sequence[float], noise: float) -> tuple[float, bool]:
    """The slope per second over the last two thirds, and whether that is more than noise."""
    begin = len(values) // 3
    new_high = statistics.median(values[-begin:]) > max(values[:-begin])
    times, values = at_s[begin:], values[begin:]
    slope, start = statistics.linear_regression(times, values)
    rest = [value - start - slope * at for at, value in zip(times, values, strict=True)]
    allowed = max(2 * statistics.pstdev(rest), 0.03 * abs(statistics.fmean(values)), noise)
    return slope, new_high and slope * (times[-1] - times[0]) > allowed


def _rows(at_s: Sequence[float], samples: Sequence[Sample]) -> Iterator[str]:
    roles = dict.fromkeys(role for each in samples for role in each)
    for role in roles:
        for what in dict.fromkeys(what for each in samples for what in each.get(role, {})):
            values = [each.get(role, {}).get(what, 0.0) for each in samples]
            ends = " | ".join(
                f"{value:,.1f}" for value in (values[0], values[-1], min(values), max(values))
            )
            if len(values) < MIN_SAMPLES:
                yield f"| {role} | {what} | {ends} | | too short |"
                continue
            slope, up = grows(at_s, values, NOISE[what])
            word = "GROWS" if up else "flat"
            yield f"| {role} | {what} | {ends} | {slope * 3600:,.1f} | {word} |"
