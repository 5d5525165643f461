"""A soak: a mix of warm, cold, failing and oversized requests at a share of what the machine can.

    python -m benchmarks soak --minutes 30 --load 0.7

A short ramp finds the rate that a real platform keeps up with, the soak runs at `load` of it, open
loop. Every answer is checked against its request; what the processes take is looked at every ten
seconds. At the end the platform is stopped, and what is left of it is listed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.soak import verdict
from benchmarks.soak.clients import Plan
from benchmarks.soak.leftovers import Leftovers
from benchmarks.soak.traffic import HANDLER, INVOCATION_TIMEOUT_S, SHED, STORED
from benchmarks.soak.watching import Watch
from tests.support.models import make_archive, make_image
from tests.support.platform import Platform

ENDPOINT = "soak"
MEMORY_MIB = 450  # room for the warm models and some tens of the cold ones
RAMP_S = 8.0  # for each rate
RAMP_FROM, RAMP_TO, RAMP_STEP = 50.0, 6400.0, 1.5  # requests per second
GOOD_MS = 50.0  # of the median of warm answers, at a rate that is kept up with
LOST_SHARE = 0.005  # refused or not sent, at such a rate
REST_S = 100.0  # after the last arrival, until every answer must be there


@dataclass(frozen=True, slots=True)
class Seen:
    """What the clients counted in a run."""

    periods: list[dict[str, Any]]

    @property
    def statuses(self) -> Counter[str]:
        """Of all requests."""
        total: Counter[str] = Counter()
        for period in self.periods:
            total.update(period["statuses"])
        return total

    def sum(self, what: str) -> int:
        """Of one count."""
        return sum(period[what] for period in self.periods)

    @property
    def wrong(self) -> list[str]:
        """Some wrong answers."""
        return [text for period in self.periods for text in period["wrong"]]

    def times(self, kind: str) -> list[tuple[float, float]]:
        """Median and 99th percentile of each period."""
        return [period["times_ms"][kind] for period in self.periods if kind in period["times_ms"]]


def run(options: Sequence[str] = ()) -> str:
    """Measure; a Markdown section."""
    parser = argparse.ArgumentParser(prog="benchmarks soak")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--load", type=float, default=0.7)
    parser.add_argument("--rate", type=float, default=0.0, help="instead of the ramp's; per second")
    wish = parser.parse_args(list(options))
    with tempfile.TemporaryDirectory(prefix="modelplex-soak-") as folder:
        platform = Platform(
            Path(folder) / "data",
            *("--memory-mib", str(MEMORY_MIB), "--instance-scale", str(MEMORY_MIB / 1024 / 16)),
            *("--invocation-timeout-s", str(INVOCATION_TIMEOUT_S)),
        )
        left = Leftovers(Path(folder))
        platform.start()
        try:
            _prepare(platform)
            lines = _soak(platform, wish)
            left.expect(platform)
        finally:
            platform.stop()
        return "\n".join([*lines, "", *left.told()]) + "\n"


def _prepare(platform: Platform) -> None:
    """The embedded store's objects are plain files."""
    image = make_image(platform.data.with_name("image"), HANDLER)
    platform.cli("build", "-t", ENDPOINT, str(image))
    folder = platform.data / "s3" / ENDPOINT / "models"
    folder.mkdir(parents=True)
    for prefix, count in STORED:
        for number in range(count):
            name = f"{prefix}{number}"
            archive = make_archive({"name.txt": name, "weights.bin": bytes(20_000)})
            (folder / f"{name}.tar.gz").write_bytes(archive)
    container = {
        "Image": ENDPOINT,
        "Mode": "MultiModel",
        "ModelDataUrl": f"s3://{ENDPOINT}/models/",
    }
    platform.serve(ENDPOINT, container)


def _soak(platform: Platform, wish: argparse.Namespace) -> list[str]:
    lines = ["## Soak", ""]
    rate = wish.rate
    if not rate:
        capacity, told = _ramp(platform)
        lines += [*told, ""]
        rate = capacity * wish.load
    watch = Watch(platform)
    watch.start()
    try:
        seen = _clients(platform, rate, wish.minutes * 60, 10.0, 1)
    finally:
        watch.stop()
    lines += [f"{wish.minutes:g} minutes at {rate:.0f} requests/s.", "", *_counted(seen), ""]
    return [*lines, *verdict.table(watch.at_s, watch.samples)]


def _ramp(platform: Platform) -> tuple[float, list[str]]:
    """The highest rate that is kept up with; what each rate came to."""
    told = ["| offered/s | warm p50 ms | p99 ms | refused or unsent | |", "|--:|--:|--:|--:|---|"]
    _clients(platform, RAMP_FROM, RAMP_S, 60.0, 0)  # models are loaded
    rate, good = RAMP_FROM, RAMP_FROM
    while rate <= RAMP_TO:
        seen = _clients(platform, rate, RAMP_S, 60.0, int(rate))
        p50, p99 = seen.times("warm")[0]
        lost = seen.sum("unsent") + _shed(seen)
        kept_up = p50 <= GOOD_MS and lost <= LOST_SHARE * rate * RAMP_S
        word = "kept up" if kept_up else "too much"
        told.append(f"| {rate:.0f} | {p50:.1f} | {p99:.1f} | {lost} | {word} |")
        if not kept_up:
            break
        good, rate = rate, rate * RAMP_STEP
    return good, told


def _shed(seen: Seen) -> int:
    return sum(n for what, n in seen.statuses.items() if what.rpartition(" ")[2] in map(str, SHED))


def _clients(platform: Platform, rate: float, seconds: float, period_s: float, seed: int) -> Seen:
    keys = platform.keys
    plan = Plan(
        port=platform.port,
        endpoint=ENDPOINT,
        region=platform.region,
        access_key=keys["access_key"],
        secret_key=keys["secret_key"],
        rate=rate,
        seconds=seconds,
        period_s=period_s,
        seed=seed,
    )
    path = platform.data.with_name("plan.json")
    path.write_text(json.dumps(asdict(plan)))
    argv = [sys.executable, "-m", "benchmarks.soak.clients", str(path)]
    done = subprocess.run(argv, capture_output=True, check=False, timeout=seconds + REST_S)
    assert done.returncode == 0, done.stderr.decode()
    return Seen([json.loads(line) for line in done.stdout.splitlines()])


def _counted(seen: Seen) -> list[str]:
    lines = [
        f"**{seen.sum('wrongs')} wrong answers**; {sum(seen.statuses.values())} requests, "
        f"{_shed(seen)} refused for overload, {seen.sum('unsent')} not sent by busy clients.",
        *(f"* wrong: {text}" for text in seen.wrong[:20]),
        "",
        "| kind: status | requests | p50 ms | p99 ms: median, worst of 10 s |",
        "|---|--:|--:|--:|",
    ]
    for what, count in sorted(seen.statuses.items()):
        times = seen.times(what.partition(":")[0])
        p50 = sorted(each[0] for each in times)[len(times) // 2] if times else 0.0
        p99s = sorted(each[1] for each in times) or [0.0]
        told = f"{p50:.1f} | {p99s[len(p99s) // 2]:.1f}, {p99s[-1]:.1f}"
        lines.append(f"| {what} | {count} | {told} |")
    return lines
