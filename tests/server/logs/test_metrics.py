"""What Prometheus reads: valid text, the right numbers, and not more series than are bounded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from modelplex.server.logs import metrics as module
from modelplex.server.logs.host import Host
from modelplex.server.logs.metrics import Metrics
from modelplex.server.serving.staff import WorkerRow
from tests.server.twins import TwinModel, TwinModels

DOCUMENT = Path(__file__).parents[3] / "docs" / "reference" / "server-metrics.md"
SAMPLE = re.compile(r'modelplex_server_(\w+)(\{(?:\w+="(?:[^"\\\n]|\\.)*",?)+\})? (\S+)')


def worker(status: str = "READY", memory: int = 1000) -> WorkerRow:
    return WorkerRow("9000", 0.0, status, False, memory, 1)


def registry(*names: str) -> TwinModels:
    models = TwinModels()
    for name in names:
        model = models.add(TwinModel(name, workers=[worker(), worker("LOADING", 24)]))
        model.queued = 3  # type: ignore[attr-defined]
    return models


def read(metrics: Metrics, models: TwinModels) -> dict[str, float]:
    """Every sample; each family has its help and type before it, once."""
    found: dict[str, float] = {}
    families: set[str] = set()
    for line in metrics.exposition(models, Host().measure(), 0).decode().splitlines():  # type: ignore[arg-type]
        if line.startswith("# TYPE "):
            family = line.split()[2]
            assert family not in families
            families.add(family)
        elif not line.startswith("# HELP "):
            match = SAMPLE.fullmatch(line)
            assert match, line
            assert match[0].split("{")[0].split()[0].startswith(tuple(families))
            found[match[1] + (match[2] or "")] = float(match[3])
    return found


def test_requests_are_counted_by_model_and_class() -> None:
    """With a histogram of how long they took."""
    metrics = Metrics()
    for took_s, status in ((0.0005, 200), (0.02, 200), (0.02, 503), (100.0, 200)):
        metrics.predicted("m", took_s, status)
    metrics.answers[2] += 3
    found = read(metrics, registry("m"))
    assert found['requests_total{code="2xx"}'] == 3
    assert found['model_requests_total{model="m",code="2xx"}'] == 3
    assert found['model_requests_total{model="m",code="5xx"}'] == 1
    buckets = {
        bound: found[f'model_latency_seconds_bucket{{model="m",le="{bound}"}}']
        for bound in ("0.001", "0.01", "0.025", "60.0", "+Inf")
    }
    assert buckets == {"0.001": 1, "0.01": 1, "0.025": 3, "60.0": 3, "+Inf": 4}
    assert found['model_latency_seconds_count{model="m"}'] == 4
    assert found['model_latency_seconds_sum{model="m"}'] == pytest.approx(100.0405)


def test_models_and_workers_are_as_they_are_now() -> None:
    """Queue, states, memory, loads."""
    metrics = Metrics()
    metrics.loaded("m", 0.25)
    found = read(metrics, registry("m"))
    assert found['models{state="READY"}'] == 1
    assert found['model_queued{model="m"}'] == 3
    assert found['model_workers{model="m",status="LOADING"}'] == 1
    assert found['model_memory_bytes{model="m"}'] == 1024
    assert found['model_loads_total{model="m"}'] == 1
    assert found['model_load_seconds_total{model="m"}'] == 0.25


def test_names_are_escaped() -> None:
    """A model may be called anything."""
    metrics = Metrics()
    metrics.loaded('a"b\\c\nd', 1)
    found = read(metrics, registry('a"b\\c\nd'))
    assert 'model_loads_total{model="a\\"b\\\\c\\nd"}' in found


def test_the_series_of_a_removed_model_go() -> None:
    """At the next reading."""
    metrics = Metrics()
    metrics.loaded("old", 1)
    metrics.loaded("new", 1)
    assert 'model_loads_total{model="old"}' in read(metrics, registry("old", "new"))
    assert not any("old" in name for name in read(metrics, registry("new")))


def test_series_are_bounded() -> None:
    """Further models are counted together."""
    metrics, names = Metrics(), [f"m{n}" for n in range(module.SERIES_MAX + 20)]
    for name in names:
        metrics.loaded(name, 1)
        metrics.predicted(name, 0.1, 200)
    found = read(metrics, registry(*names))
    assert sum(name.startswith("model_loads_total") for name in found) == module.SERIES_MAX + 1
    assert found['model_loads_total{model="*"}'] == 20
    assert found['model_queued{model="*"}'] == 60


def test_workers_of_many_models_are_measured_in_turn() -> None:
    """Those not looked at for longest come first when there is no time for all."""
    metrics, models, seen = Metrics(), registry("a", "b", "c"), []

    class Slow(TwinModel):
        def rows(self) -> list[WorkerRow]:
            seen.append(self.name)
            deadline = module.time.perf_counter() + module.LOOK_S
            while module.time.perf_counter() < deadline:
                pass
            return [worker()]

    for name in "abc":
        models.add(Slow(name)).queued = 0  # type: ignore[attr-defined]
    for _ in range(4):
        read(metrics, models)
    assert seen == ["a", "b", "c", "a"]


def test_the_document_names_every_metric() -> None:
    """And the server has no other."""
    metrics = Metrics()
    metrics.predicted("m", 1, 200)
    text = metrics.exposition(registry("m"), Host().measure(), 0).decode()  # type: ignore[arg-type]
    named = set(re.findall(r"# TYPE modelplex_server_(\w+)", text))
    rows = [line for line in DOCUMENT.read_text().splitlines() if re.match(r"\| `[a-z_]+`", line)]
    told = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row.split("|")[1])}
    assert {name for name in told if not name.endswith("_log.log")} == named
