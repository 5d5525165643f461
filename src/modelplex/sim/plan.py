"""What a planner asks: how many instances of which type, and what an instance's death does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from statistics import median

from modelplex.core.sizing import instance_type
from modelplex.sim.document import ScenarioError, quantity
from modelplex.sim.failures import Death
from modelplex.sim.scenario import DEFAULT_TYPE, Scenario
from modelplex.sim.statistics import Report

METRICS: dict[str, Callable[[Report], float]] = {
    "cold": lambda report: report.cold,
    "disk": lambda report: report.disk,
    "not warm": lambda report: report.disk + report.cold,
    "refused": lambda report: report.refused + report.failed,
    "mean wait": lambda report: report.wait_mean_s,
    "p50 wait": lambda report: report.wait_p50_s,
    "p99 wait": lambda report: report.wait_p99_s,
    "p99.9 wait": lambda report: report.wait_p999_s,
}
_CLAUSE = re.compile(r"\s*([a-z0-9. ]+?)\s*<=?\s*(\S+)\s*")
RECOVERED = 1.5  # times the waits and the misses of before, at most: then the hole is over
CALM_WINDOWS = 3  # in a row: one may be calm by chance
_LEAST_S = 0.005  # shorter waits are all the same
_LEAST_MISSES = 0.01  # and so are smaller shares of requests that did not find their model loaded


@dataclass(frozen=True, slots=True)
class Target:
    """What is wanted: no metric above its limit (a share, or seconds)."""

    limits: tuple[tuple[str, float], ...]

    def met(self, report: Report) -> bool:
        """Whether a run was good enough: refusals are never, if nothing is said of them."""
        limits = {"refused": 0.001, **dict(self.limits)}
        return all(METRICS[name](report) <= limit for name, limit in limits.items())


def target(text: str) -> Target:
    """ "cold<=2%, p99 wait<=200ms". Raises ScenarioError."""
    limits = []
    for clause in text.split(","):
        found = _CLAUSE.fullmatch(clause)
        if not found or found[1] not in METRICS:
            raise ScenarioError(
                f"the target {clause.strip()!r} cannot be read; write one such as "
                f"'cold<=2%' or 'p99 wait<=200ms', of {', '.join(METRICS)}"
            )
        limits.append((found[1], quantity(found[2], f"the target of {found[1]}")))
    return Target(tuple(limits))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A fleet that was tried."""

    type: str
    count: int
    memory_gib: float  # of all its instances
    vcpus: float
    met: bool
    report: Report


@dataclass(frozen=True, slots=True)
class Search:
    """Where to look for a fleet."""

    types: tuple[str, ...]  # of instances; none: the scenario's
    wanted: Target
    count_max: int  # instances of a fleet


def candidates(scenario: Scenario, search: Search) -> Iterator[Candidate]:
    """For each type the smallest fleet that meets the target, and what was tried on the way.

    More instances are taken to be better: the count is doubled until it is enough, and the gap
    halved then. A fleet that is not enough at `count_max` stays without a success.
    """
    for type in search.types or (scenario.instances.type or DEFAULT_TYPE,):
        yield from _smallest(scenario, type, search.wanted, search.count_max)


def _smallest(scenario: Scenario, type: str, wanted: Target, count_max: int) -> Iterator[Candidate]:
    least, most = 0, 1  # not enough; perhaps enough
    while True:
        tried = _try(scenario, type, most, wanted)
        yield tried
        if tried.met or most == count_max:
            break
        least, most = most, min(2 * most, count_max)
    while tried.met and most - least > 1:
        middle = (least + most) // 2
        attempt = _try(scenario, type, middle, wanted)
        yield attempt
        least, most = (least, middle) if attempt.met else (middle, most)


def _try(scenario: Scenario, type: str, count: int, wanted: Target) -> Candidate:
    report = scenario.with_instances(type, count).run()
    kind = instance_type(type)
    return Candidate(
        type, count, count * kind.memory_gib, count * kind.vcpus, wanted.met(report), report
    )


def cheapest(tried: Iterable[Candidate]) -> Candidate | None:
    """Of those that are enough the one with the least memory, which is what costs."""
    enough = [each for each in tried if each.met]
    return min(enough, key=lambda each: (each.memory_gib, each.vcpus, each.count), default=None)


@dataclass(frozen=True, slots=True)
class Hole:
    """What the death of an instance does to waits (99th percentiles by window), and for how long
    more of them are waits than before.
    """

    instance: int
    at_s: float
    before_s: float  # the median of the windows before
    worst_s: float  # the highest in the windows from the death on, until it is over
    lost: int  # requests that its handlers had begun, or that nobody took
    recovered_s: float | None  # from the death until all is as before; None: not in this run


def peak_s(report: Report) -> float:
    """The middle of the window with the most requests."""
    windows = report.windows
    busiest = max(range(len(windows)), key=lambda n: windows[n].outcomes.total())
    return (windows[busiest].start_s + _end_s(report, busiest)) / 2


def with_death(scenario: Scenario, death: Death) -> Scenario:
    """The same with a further death."""
    return replace(scenario, failures=(*scenario.failures, death))


def hole(report: Report, death: Death, warmup_s: float) -> Hole:
    """How deep and how long, from the windows of a run in which it happened."""
    windows = report.windows
    hit = max(n for n, each in enumerate(windows) if each.start_s <= death.at_s)
    before = [each for each in windows[:hit] if each.start_s >= warmup_s] or list(windows[:1])
    wait_s = median(each.wait_p99_s for each in before)
    misses = median(each.misses for each in before)

    def calm(number: int) -> bool:
        return all(
            each.wait_p99_s <= max(RECOVERED * wait_s, _LEAST_S)
            and each.misses <= max(RECOVERED * misses, _LEAST_MISSES)
            for each in windows[number : number + CALM_WINDOWS]
        )

    over = next((n for n in range(hit + 1, len(windows)) if calm(n)), None)
    bad = windows[hit:over]
    return Hole(
        instance=death.instance,
        at_s=death.at_s,
        before_s=wait_s,
        worst_s=max(each.wait_p99_s for each in bad),
        lost=sum(each.outcomes["failed"] + each.outcomes["unreachable"] for each in bad),
        recovered_s=None if over is None else windows[over].start_s - death.at_s,
    )


def _end_s(report: Report, number: int) -> float:
    windows = report.windows
    return windows[number + 1].start_s if number + 1 < len(windows) else report.seconds
