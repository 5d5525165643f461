"""Counters of the server, and what Prometheus reads of them and of the models.

Every name begins with `modelplex_server_`; docs/reference/server-metrics.md has them all. Counting
costs less than a microsecond. At most SERIES_MAX models have series of their own, further ones are
counted together as model="*"; the series of a removed model go at the next reading.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from modelplex.server.logs.host import Figures

if TYPE_CHECKING:
    from modelplex.server.serving.models import Model, Models

SERIES_MAX = 1000
OTHERS = "*"
PAGE = 1000
LOOK_S = 0.03  # for measuring workers in one reading, which holds everything else up
BOUNDS_S = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)
CLASSES = range(1, 10)  # of statuses: handlers may set any

Sample = tuple[str, dict[str, str], float]  # what is added to the name, labels, value


class Series:
    """What has been counted of one model."""

    __slots__ = ("buckets", "load_s", "loads", "statuses", "total_s")

    def __init__(self) -> None:
        self.statuses = [0] * 16  # by class
        self.buckets = [0] * (len(BOUNDS_S) + 1)
        self.total_s = 0.0
        self.loads = 0
        self.load_s = 0.0  # all of them


class Look(NamedTuple):
    """A model's workers as they were last seen."""

    at: float
    workers: Counter[str]
    memory: int


NEVER = Look(0.0, Counter(), 0)


class Metrics:
    """All counters."""

    def __init__(self) -> None:
        self.answers = [0] * 16  # HTTP answers by class of status
        self._series: dict[str, Series] = {}
        self._looks: dict[str, Look] = {}
        self._started = time.monotonic()

    def predicted(self, model: str, took_s: float, status: int) -> None:
        """A model answered a request."""
        series = self._series.get(model) or self._open(model)
        series.statuses[status // 100 & 15] += 1
        series.buckets[bisect_left(BOUNDS_S, took_s)] += 1
        series.total_s += took_s

    def loaded(self, model: str, took_s: float) -> None:
        """A worker loaded its model."""
        series = self._series.get(model) or self._open(model)
        series.loads += 1
        series.load_s += took_s

    def _open(self, model: str) -> Series:
        name = model if len(self._series) < SERIES_MAX else OTHERS
        if name not in self._series:
            self._series[name] = Series()
        return self._series[name]

    # -- reading ----------------------------------------------------------------------------

    def exposition(self, models: Models, host: Figures, dropped: int) -> bytes:
        """Everything in Prometheus's text format 0.0.4."""
        present = list(_all(models))
        names = {model.name for model in present} | {OTHERS}
        self._series = {name: each for name, each in self._series.items() if name in names}
        for model in present:
            self._open(model.name)  # also one that nobody has asked yet
        families = [*self._server(dropped), *_host(host), *self._counted(), *self._gauges(present)]
        return "".join(family for family in families if family).encode()

    def _server(self, dropped: int) -> Iterator[str]:
        uptime = time.monotonic() - self._started
        yield _single("uptime_seconds", "gauge", "Seconds since the server started.", uptime)
        yield _single("log_lines_dropped_total", "counter", "Log lines that were lost.", dropped)
        yield _family(
            "requests_total",
            "counter",
            "HTTP answers by class of status.",
            [("", {"code": f"{kind}xx"}, self.answers[kind]) for kind in range(1, 6)],
        )

    def _counted(self) -> Iterator[str]:
        requests = [
            ("", {"model": name, "code": f"{kind}xx"}, each.statuses[kind])
            for name, each in self._series.items()
            for kind in CLASSES
            if each.statuses[kind]
        ]
        loads = [("", {"model": name}, each.loads) for name, each in self._series.items()]
        took = [("", {"model": name}, each.load_s) for name, each in self._series.items()]
        latencies = [s for name, each in self._series.items() for s in _histogram(name, each)]
        yield _family("model_requests_total", "counter", "Requests by model and status.", requests)
        yield _family("model_latency_seconds", "histogram", "Waiting and predicting.", latencies)
        yield _family("model_loads_total", "counter", "Workers that loaded the model.", loads)
        yield _family("model_load_seconds_total", "counter", "What those loads took.", took)

    def _gauges(self, present: list[Model]) -> Iterator[str]:
        self._look(present)
        queued: Counter[str] = Counter()
        memory: Counter[str] = Counter()
        workers: Counter[tuple[str, str]] = Counter()
        states = Counter(model.state.value for model in present)
        for model in present:
            name = model.name if model.name in self._series else OTHERS
            look = self._looks[model.name]
            queued[name] += model.queued
            memory[name] += look.memory
            for status, count in look.workers.items():
                workers[name, status] += count
        yield _family(
            "models", "gauge", "Registered models.", [("", {"state": s}, states[s]) for s in states]
        )
        yield _family("model_queued", "gauge", "Requests that wait.", _by_model(queued))
        yield _family(
            "model_workers",
            "gauge",
            "Workers by model and status.",
            [("", {"model": name, "status": s}, n) for (name, s), n in workers.items()],
        )
        yield _family("model_memory_bytes", "gauge", "What its workers hold.", _by_model(memory))

    def _look(self, present: list[Model]) -> None:
        """Measure workers, those not looked at for longest first, for as long as LOOK_S."""
        before, ends = self._looks, time.perf_counter() + LOOK_S
        self._looks = {model.name: before.get(model.name, NEVER) for model in present}
        for model in sorted(present, key=lambda model: self._looks[model.name].at):
            rows = model.rows()
            workers = Counter(row.status for row in rows)
            memory = sum(row.memory_bytes for row in rows)
            self._looks[model.name] = Look(time.perf_counter(), workers, memory)
            if time.perf_counter() > ends:
                return


def _all(models: Models) -> Iterator[Model]:
    after = ""
    while True:
        page, after = models.page(PAGE, after)
        yield from page
        if not after:
            return


def _host(host: Figures) -> Iterator[str]:
    yield _single("host_cpu_percent", "gauge", "Processors' use.", host.cpu_percent)
    yield _single("host_memory_used_bytes", "gauge", "Memory in use.", host.memory_used)
    yield _single("host_memory_available_bytes", "gauge", "Memory left.", host.memory_available)
    yield _single("host_disk_used_bytes", "gauge", "Disk in use.", host.disk_used)
    yield _single("host_disk_available_bytes", "gauge", "Disk left.", host.disk_available)


def _histogram(model: str, series: Series) -> Iterator[Sample]:
    below = 0
    for bound, count in zip((*BOUNDS_S, "+Inf"), series.buckets, strict=True):
        below += count
        yield "_bucket", {"model": model, "le": str(bound)}, below
    yield "_sum", {"model": model}, series.total_s
    yield "_count", {"model": model}, below


def _by_model(counts: Counter[str]) -> list[Sample]:
    return [("", {"model": name}, count) for name, count in counts.items()]


def _single(name: str, kind: str, text: str, value: float) -> str:
    return _family(name, kind, text, [("", {}, value)])


def _family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> str:
    """One metric with all its samples; nothing if it has none."""
    name = f"modelplex_server_{name}"
    lines = [f"{name}{suffix}{_labels(labels)} {value}\n" for suffix, labels, value in samples]
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n{''.join(lines)}" if lines else ""


def _labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
