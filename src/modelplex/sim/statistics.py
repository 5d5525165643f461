"""What became of the requests of a simulated world, and what it took."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from modelplex.sim.histogram import Histogram

STARTS = ("warm", "disk", "cold")


@dataclass(slots=True)
class Window:
    """A stretch of time."""

    start_s: float
    outcomes: Counter[str] = field(default_factory=Counter)
    wait_p50_s: float = 0.0
    wait_p99_s: float = 0.0
    memory_bytes: int = 0  # in all instances, at its end
    models: int = 0  # loaded, in all instances, at its end
    instances: int = 0  # alive at its end

    def share(self, outcome: str) -> float:
        """Of its requests; 0.0 of none."""
        return self.outcomes[outcome] / max(1, self.outcomes.total())

    @property
    def misses(self) -> float:
        """Share of the requests that did not find their model loaded, or were not answered."""
        return 1.0 - self.share("warm") if self.outcomes else 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """The whole, in numbers. Shares are of all requests after the warm-up; a wait is the time from
    a request's arrival to the beginning of its handler.
    """

    requests: int
    warm: float
    disk: float
    cold: float
    refused: float
    failed: float
    wait_mean_s: float
    wait_p50_s: float
    wait_p99_s: float
    wait_p999_s: float
    wait_max_s: float
    total_p50_s: float  # with the handler's time
    total_p99_s: float
    fairness: float  # Jain's index of the models' mean times: 1.0 if all are served alike
    worst_models_s: float  # mean wait of the model that 99 % of the models do not exceed
    models_asked: int
    fetches: int
    loads: int
    fetched_bytes: int
    fetch_s: float  # all fetches together
    load_s: float
    cold_cost_s: float  # fetches and loads per 1,000 requests
    cold_bytes: float  # size of the models that were brought into memory, per request
    evictions: int
    out_of_memory: int  # loads that did not fit into their reservation
    memory_mean_bytes: int
    memory_peak_bytes: int
    seconds: float  # of simulated time
    outcomes: dict[str, int]
    windows: tuple[Window, ...]

    @property
    def hits(self) -> float:
        """Share of the requests that found their model loaded."""
        return self.warm

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        document = asdict(replace(self, windows=()))
        document["windows"] = [
            {name: getattr(window, name) for name in Window.__slots__} for window in self.windows
        ]
        return document


class Statistics:
    """Counts while the world runs. Nothing before `warmup_s` counts but in the windows."""

    def __init__(self, warmup_s: float = 0.0) -> None:
        self.warmup_s = warmup_s
        self.outcomes: Counter[str] = Counter()
        self.wait = Histogram()
        self.total = Histogram()
        self.work: Counter[str] = Counter()  # fetches, loads and what they took
        self.windows: list[Window] = []
        self._window_wait = Histogram()
        self._asked = array("L")  # by model
        self._waited_s = array("d")
        self._spent_s = array("d")

    def begin_window(self, start_s: float) -> None:
        """What comes from now on belongs to another stretch."""
        self.windows.append(Window(start_s))
        self._window_wait = Histogram()

    def end_window(self, memory_bytes: int, models: int, instances: int) -> None:
        """What is true at the end of the present stretch."""
        window, waits = self.windows[-1], self._window_wait
        window.wait_p50_s, window.wait_p99_s = waits.quantile(0.5), waits.quantile(0.99)
        window.memory_bytes, window.models = memory_bytes, models
        window.instances = instances

    def count(self, arrived: float, outcome: str) -> None:
        """A request came to its end."""
        self.windows[-1].outcomes[outcome] += 1
        if arrived >= self.warmup_s:
            self.outcomes[outcome] += 1

    def served(self, index: int, start: str, arrived: float, wait_s: float, total_s: float) -> None:
        """A request was answered by its model."""
        self.count(arrived, start)
        self._window_wait.add(wait_s)
        if arrived < self.warmup_s:
            return
        self.wait.add(wait_s)
        self.total.add(total_s)
        if index >= len(self._asked):
            self._grow(index + 1)
        self._asked[index] += 1
        self._waited_s[index] += wait_s
        self._spent_s[index] += total_s

    def _grow(self, models: int) -> None:
        more = max(models, 2 * len(self._asked)) - len(self._asked)
        for column in (self._asked, self._waited_s, self._spent_s):
            column.extend([0] * more)

    def add_work(self, now: float, **amounts: float) -> None:
        """Something was fetched, loaded or evicted."""
        if now >= self.warmup_s:
            self.work.update(amounts)

    def report(self, seconds: float) -> Report:
        """The sums, once the world has come to its end."""
        requests = self.outcomes.total()
        shares = {name: self._share(name) for name in (*STARTS, "refused", "failed")}
        memory = [window.memory_bytes for window in self.windows]
        work = self.work
        waits = sorted(self._means(self._waited_s))
        return Report(
            requests=requests,
            **shares,
            wait_mean_s=self.wait.mean,
            wait_p50_s=self.wait.quantile(0.5),
            wait_p99_s=self.wait.quantile(0.99),
            wait_p999_s=self.wait.quantile(0.999),
            wait_max_s=self.wait.most,
            total_p50_s=self.total.quantile(0.5),
            total_p99_s=self.total.quantile(0.99),
            fairness=jain(self._means(self._spent_s)),
            worst_models_s=waits[int(0.99 * len(waits))] if waits else 0.0,
            models_asked=len(waits),
            fetches=int(work["fetches"]),
            loads=int(work["loads"]),
            fetched_bytes=int(work["fetched_bytes"]),
            fetch_s=work["fetch_s"],
            load_s=work["load_s"],
            cold_cost_s=1000 * (work["fetch_s"] + work["load_s"]) / max(1, requests),
            cold_bytes=work["loaded_bytes"] / max(1, requests),
            evictions=int(work["evictions"]),
            out_of_memory=int(work["out_of_memory"]),
            memory_mean_bytes=sum(memory) // max(1, len(memory)),
            memory_peak_bytes=max(memory, default=0),
            seconds=seconds,
            outcomes=dict(sorted(self.outcomes.items())),
            windows=tuple(self.windows),
        )

    def _share(self, name: str) -> float:
        """Refusals of all kinds are one share; each has its own count in `outcomes`."""
        refused = name == "refused"
        others = (*STARTS, "failed")
        found = sum(n for key, n in self.outcomes.items() if key not in others) if refused else 0
        return (found or self.outcomes[name]) / max(1, self.outcomes.total())

    def _means(self, sums: array[float]) -> list[float]:
        """Per model that was asked for."""
        return [total / asked for total, asked in zip(sums, self._asked, strict=True) if asked]


def jain(values: list[float]) -> float:
    """1.0 if all are equal, 1 / n if one has everything."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0
