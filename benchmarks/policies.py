"""Eviction policies against LRU, against an oracle and against the least that is possible.

One simulated instance per workload and policy, all with the same models, requests and limits; what
decides is `core/`, as in production. MODELPLEX_TRACES names a folder with public traces, without
which there are the invented workloads alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat

from benchmarks.workloads import SEED, Workload, invented, recorded
from modelplex.core.limits import Limits
from modelplex.core.policies import POLICIES
from modelplex.core.residency import Residency
from modelplex.sim.oracle import Future, cost_bound_s, enlighten
from modelplex.sim.parts import Make
from modelplex.sim.statistics import Report
from modelplex.sim.world import Fleet, World

REQUESTS = 100_000  # of each workload; MODELPLEX_REQUESTS: another number, for a quick look
DISK_PER_MEMORY = 4
NETWORK_BYTES_PER_S = 1.25e9
VCPUS, LOADS_MAX = 8, 4
ORACLE = "oracle"
HEAD = (
    "| workload | policy | warm % | cold cost s | of LRU's | GB loaded | p50 ms | p99 s | p99.9 s "
    "| Jain | worst 1 % s | saved |\n"
    "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
)
RIVALS = ("adaptive", "gdsf", "aging", "tinylfu", ORACLE)
SUMMARY = (
    f"| workload | {' | '.join(RIVALS)} | bound | adaptive saved |\n"
    f"|---|{'--:|' * (len(RIVALS) + 2)}"
)


@dataclass(frozen=True, slots=True)
class Costs:
    """Of all requests of a workload, in seconds of fetching and loading."""

    uncached: float  # if nothing were ever kept
    least: float  # nobody can go below

    @classmethod
    def of(cls, work: Workload, make: Make) -> Costs:
        """From what is true of the models."""
        truths = [work.models.truth(number) for number in range(len(work.models))]
        loads = [truth.load_s for truth in truths]
        latency, speed = make.fetch_latency_s, make.network_bytes_per_s
        fetches = [latency + truth.disk_bytes / speed for truth in truths]
        memory = [truth.memory_bytes for truth in truths]
        disk = [truth.disk_bytes for truth in truths]
        limits = make.limits
        return cls(
            sum(loads[model] + fetches[model] for _, model in work.arrivals),
            cost_bound_s(work.arrivals, memory, loads, limits.memory_bytes)
            + cost_bound_s(work.arrivals, disk, fetches, limits.disk_bytes),
        )


def run() -> str:
    """Simulate; a Markdown section."""
    count = int(os.environ.get("MODELPLEX_REQUESTS", REQUESTS))
    works = list(_workloads(count))
    with ProcessPoolExecutor() as processes:
        tables = list(processes.map(_compared, [work for work, _ in works]))
    short = [SUMMARY, *(table[0] for table in tables)]
    rows = [HEAD, *(row for table in tables for row in table[1:])]
    abouts = [f"* {work.name}: {work.about}" for work, _ in works]
    sources = [f"* {source}" for _, source in works if source]
    return "\n".join(
        [
            "## Eviction policies",
            "",
            f"Seed {SEED}; at most {count:,} requests of each workload, on one simulated instance "
            f"with {VCPUS} vCPUs, {LOADS_MAX} loads at once, 10 Gbit/s, a disk of "
            f"{DISK_PER_MEMORY} times the memory, and memory for a tenth of the models' bytes "
            "unless said otherwise. Cold cost: seconds of all fetches and loads. Saved: cost "
            "avoided against keeping nothing, as a share of what the oracle avoids. Waiting: from "
            "arrival until the handler begins. Jain: fairness over the models' mean times. Worst "
            "1 %: the mean wait that 99 % of the models do not exceed.",
            "",
            "Cold cost against LRU's:",
            "",
            *short,
            "",
            *rows,
            "",
            *abouts,
            "",
            *(["Traces read:", "", *sources, ""] if sources else ["No traces were given.", ""]),
        ]
    )


def _workloads(requests: int) -> Iterator[tuple[Workload, str]]:
    yield from zip(invented(requests), repeat(""))
    yield from recorded(requests)


def _compared(work: Workload) -> list[str]:
    """A row of the summary, and a row for each policy."""
    make = _make(work, "lru")
    costs = Costs.of(work, make)
    reports = {name: _simulated(work, name) for name in ("lru", *POLICIES)}
    reports[ORACLE] = _simulated(work, ORACLE)
    rows = [_row(work, name, reports, costs) for name in reports]
    least, lru = costs.least, _cost_s(reports["lru"])
    saved = (costs.uncached - least) / (costs.uncached - _cost_s(reports[ORACLE]))
    bound = (
        f"| {work.name} | bound | | {least:,.0f} | {least / lru:.2f} | | | | | | | {saved:.2f} |"
    )
    ratios = [f"{_cost_s(reports[name]) / lru:.2f}" for name in RIVALS]
    short = f"| {' | '.join([work.name, *ratios])} | {least / lru:.2f} | {_saved(reports, costs)} |"
    return [short, *rows, bound]


def _saved(reports: dict[str, Report], costs: Costs, name: str = "adaptive") -> str:
    """Cost avoided against keeping nothing, as a share of what the oracle avoids."""
    avoided = costs.uncached - _cost_s(reports[name])
    return f"{avoided / (costs.uncached - _cost_s(reports[ORACLE])):.2f}"


def _make(work: Workload, policy: str) -> Make:
    memory = work.memory_bytes
    limits = Limits(
        memory_bytes=memory,
        disk_bytes=DISK_PER_MEMORY * memory,
        loads_max=LOADS_MAX,
        policy=policy,
        remembered_max=100_000,
    )
    return Make(limits, vcpus=VCPUS, network_bytes_per_s=NETWORK_BYTES_PER_S)


def _simulated(work: Workload, policy: str) -> Report:
    prepare: Callable[[Residency], None] | None = None
    if policy == ORACLE:
        future = Future((moment, work.models.name(model)) for moment, model in work.arrivals)

        def prepare(residency: Residency) -> None:
            enlighten(residency, future)

    make = _make(work, "lru" if policy == ORACLE else policy)
    return World(work.models, iter(work.arrivals), Fleet(make), seed=SEED, prepare=prepare).run()


def _cost_s(report: Report) -> float:
    return report.fetch_s + report.load_s


def _row(work: Workload, name: str, reports: dict[str, Report], costs: Costs) -> str:
    report, lru = reports[name], reports["lru"]
    cost = _cost_s(report)
    refused = f" ({100 * report.refused:.1f} % refused)" if report.refused else ""
    cells = (
        work.name,
        name + refused,
        f"{100 * report.warm:.1f}",
        f"{cost:,.0f}",
        f"{cost / _cost_s(lru):.2f}",
        f"{report.cold_bytes * report.requests / 1e9:,.0f}",
        f"{1000 * report.wait_p50_s:.1f}",
        f"{report.wait_p99_s:.2f}",
        f"{report.wait_p999_s:.2f}",
        f"{report.fairness:.2f}",
        f"{report.worst_models_s:.2f}",
        _saved(reports, costs, name),
    )
    return f"| {' | '.join(cells)} |"
