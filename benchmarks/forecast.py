"""The simulator beside reality: what an instance's log says happened, and what was forecast.

Twice: the very requests of the log, with sizes and durations as the log has them; and traffic and
models invented from their parameters alone, as somebody would who has no machines yet.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelplex.core import events
from modelplex.core.log import factlog
from tests.support.platform import COMMAND

COLUMNS = ("warm", "disk", "cold")
HEAD = "| | warm | disk | cold | wait p50 ms | p99 | p99.9 | with answer p50 ms | p99 |"


@dataclass(slots=True)
class Real:
    """What became of the requests of a log, in seconds."""

    starts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COLUMNS, 0))
    waits: list[float] = field(default_factory=list)
    totals: list[float] = field(default_factory=list)
    refused: int = 0


def section(log: Path, scenario: str) -> str:
    """Both forecasts beside the log, as Markdown; `scenario` is a TOML text of the parameters."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scenario.toml"
        path.write_text(scenario)
        recorded = _simulated("--log", str(log))
        invented = _simulated(str(path))
    real = _real(log)
    rows = [
        _row("really", _shares(real), _times(real.waits), _times(real.totals)),
        _forecast("simulated, the recorded requests", recorded),
        _forecast("simulated, from parameters alone", invented),
    ]
    text = (
        "Times are the instance's: from a request's arrival there to its handler, and its answer."
    )
    ruler = "|:--|" + "--:|" * 8
    shown = ["", "The parameters:", "", "```toml", scenario.strip(), "```", ""]
    return "\n".join(["## Forecast and reality", "", text, "", HEAD, ruler, *rows, *shown])


def _simulated(*arguments: str) -> dict[str, Any]:
    output = subprocess.run(
        [COMMAND, "simulate", *arguments, "--json"], capture_output=True, check=True
    ).stdout
    report: dict[str, Any] = json.loads(output)["runs"][0]
    return report


def _real(log: Path) -> Real:
    real = Real()
    came: dict[int, tuple[float, str]] = {}
    begun: dict[int, float] = {}
    fetched: dict[str, float] = {}
    loaded: dict[str, float] = {}
    for entry in _entries(log):
        match entry.fact:
            case events.Invoked(request, name):
                came[request] = entry.now, name
            case events.Fetched(model):
                fetched[model] = entry.now
            case events.Loaded(model):
                loaded[model] = entry.now
            case events.Answered(request) if request in came:
                at, name = came.pop(request)
                start = begun.pop(request)
                was_loaded, was_fetched = loaded.get(name, 0.0) > at, fetched.get(name, 0.0) > at
                waited = start > at
                kind = "cold" if waited and was_fetched else "disk" if waited and was_loaded else ""
                real.starts[kind or "warm"] += 1
                real.waits.append(start - at)
                real.totals.append(entry.now - at)
        for order in entry.orders:
            if isinstance(order, events.Forward):
                begun[order.request] = entry.now
            elif isinstance(order, events.Reject):
                real.refused += 1
    return real


def _entries(log: Path) -> Iterator[factlog.Entry]:
    with log.open(newline="\n") as lines:
        lines.readline()
        yield from factlog.read(lines)


def _shares(real: Real) -> list[float]:
    total = sum(real.starts.values()) + real.refused
    return [real.starts[name] / total for name in COLUMNS]


def _times(seconds: list[float]) -> list[float]:
    found = sorted(seconds)
    return [found[int(share * (len(found) - 1))] for share in (0.5, 0.99, 0.999)]


def _forecast(name: str, run: dict[str, Any]) -> str:
    waits = [run["wait_p50_s"], run["wait_p99_s"], run["wait_p999_s"]]
    totals = [run["total_p50_s"], run["total_p99_s"]]
    return _row(name, [run[column] for column in COLUMNS], waits, totals)


def _row(name: str, shares: list[float], waits: list[float], totals: list[float]) -> str:
    cells = [f"{share:.1%}" for share in shares]
    cells += [f"{1000 * seconds:.1f}" for seconds in [*waits, *totals[:2]]]
    return f"| {name} | {' | '.join(cells)} |"
