"""The run: every side started, every shape asked of all of them in turn, and what it cost."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.client import HTTPException
from pathlib import Path
from typing import NoReturn

from benchmarks.path import costs, load, profile, tables, targets
from benchmarks.path.load import Shape
from benchmarks.path.sides import floors, ours, peers
from benchmarks.path.sides.side import Side, Unavailable, check
from benchmarks.path.tables import Cell, Key

START_S = 0.5  # rest after the sides have started and been warmed
WARM_S = 2  # of load on each side, before anything is measured
COUNT_S = 1  # of counted load; counting slows a side, and that is not timed
LIMIT_S = 15 * 60  # after all have started; then no further shape is begun
QUICK_LIMIT_S = 90
SIZES = (1024, 64 * 1024, 1024 * 1024)
CONNECTIONS = (1, 8, 32, 128)
PROFILED = Shape(1024, 8)  # the shape that is counted and profiled too
OURS = ("bare", "hop", "server", "unsigned", "signed")
ALIASES = {"floor": "bare"}


@dataclass
class Run:
    """What was asked for, and what has been found."""

    seconds: int
    rounds: int
    shapes: list[Shape]
    profile_s: int
    cells: dict[Key, list[Cell]] = field(default_factory=dict)
    counts: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    profiles: dict[str, dict[str, tables.Division]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def run(arguments: Sequence[str] = ()) -> str:
    """Measure; a Markdown section."""
    options = _options(arguments)
    if shutil.which("wrk") is None:
        return "## The path of a request\n\nNot measured: wrk is missing (apt-get install wrk).\n"
    found = Run(
        seconds=options.seconds,
        rounds=options.rounds or (2 if options.quick else 3),
        shapes=_shapes(options),
        profile_s=3 if options.quick else 8,
    )
    signal.signal(signal.SIGTERM, _give_up)
    wanted = [ALIASES.get(name, name) for name in options.sides.split(",") if name]
    with _started(wanted, options.before, found.notes) as sides:
        limit = QUICK_LIMIT_S if options.quick else LIMIT_S
        _measure(found, sides, time.monotonic() + limit)
    return _section(found)


def _give_up(*_: object) -> NoReturn:
    """Ends the run by an exception, so that every server is ended too."""
    raise SystemExit("ended by SIGTERM")


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks path")
    every = ",".join([*OURS, *peers.PEERS])
    parser.add_argument("--quick", action="store_true", help="fewer shapes and rounds")
    parser.add_argument("--sides", default=every, help=f"some of {every}")
    parser.add_argument("--shapes", default="", help="such as 1K-8,1M-32,1K-8-100")
    parser.add_argument("--seconds", type=int, default=1, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=0, help="of each shape; by default 3")
    parser.add_argument("--models", type=int, default=100, help="in turn, where many are asked")
    parser.add_argument("--before", type=Path, help="another checkout, measured beside this one")
    return parser.parse_args(arguments)


def _shapes(options: argparse.Namespace) -> list[Shape]:
    if options.shapes:
        return [load.shape(text) for text in options.shapes.split(",")]
    if options.quick:
        return [PROFILED, Shape(1024, 32), Shape(SIZES[-1], 8)]
    single = [Shape(size, count) for size in SIZES for count in CONNECTIONS]
    return [
        PROFILED,
        *(shape for shape in single if shape != PROFILED),
        Shape(1024, 8, options.models),
    ]


@contextmanager
def _started(wanted: list[str], before: Path | None, notes: list[str]) -> Iterator[list[Side]]:
    """All the sides; one that cannot be had is left out, and the notes say why."""
    stack = ExitStack()
    sides: list[Side] = []
    try:
        for names, start in _starters(wanted, before):
            _say(f"starting {', '.join(names)}")
            try:
                sides += stack.enter_context(start)
            except (Unavailable, AssertionError) as error:
                notes.append(f"{', '.join(names)}: {error}")
        for side in list(sides):
            try:
                check(side, 0)
            except (AssertionError, OSError, HTTPException) as error:
                notes.append(f"{side.name}: {error}")
                sides.remove(side)
        time.sleep(START_S)
        yield sides
    finally:
        try:
            stack.close()
        except (AssertionError, OSError) as error:  # what was measured is not lost for it
            notes.append(f"at the end: {error}")


def _starters(
    wanted: list[str], before: Path | None
) -> Iterator[tuple[tuple[str, ...], AbstractContextManager[list[Side]]]]:
    single: dict[str, Callable[[], AbstractContextManager[Side]]] = {
        "bare": floors.bare,
        "hop": floors.one_hop,
        "server": ours.server,
        **peers.PEERS,
    }
    for name in wanted:
        if name in single:
            yield (name,), _alone(single[name]())
        elif name not in OURS:
            known = ", ".join([*OURS, *peers.PEERS])
            raise SystemExit(f"no side is called {name!r}: there are {known}")
    forms = tuple(name for name in ("unsigned", "signed") if name in wanted)
    for checkout in (None, before) if before else (None,):
        if checkout is not None and "server" in wanted:
            yield ("before: server",), _alone(ours.server(checkout))
        ways = tuple(form for form in forms if form == "signed" or ours.takes_unsigned(checkout))
        if ways:
            yield ways, ours.platform(ways, checkout)


@contextmanager
def _alone(start: AbstractContextManager[Side]) -> Iterator[list[Side]]:
    with start as side:
        yield [side]


def _measure(found: Run, sides: list[Side], deadline: float) -> None:
    with tempfile.TemporaryDirectory(prefix="modelplex-bench-") as scratch, costs.probe() as probe:
        folder = Path(scratch)
        for shape in found.shapes:
            if time.monotonic() > deadline:
                found.notes.append(f"{shape.text}: not measured, out of time")
                continue
            _say(shape.text)
            ready = [side for side in sides if _loaded(side, shape.models, found.notes)]
            scripts = _scripts(folder, ready, shape)
            if shape == found.shapes[0]:
                for side in ready:
                    _ask(side, scripts[side.name], shape, WARM_S)
            for _ in range(found.rounds):
                for side in ready:
                    cell = _cell(side, scripts[side.name], shape, found.seconds)
                    found.cells.setdefault((shape, side.name), []).append(cell)
            if shape == PROFILED:
                _look_inside(found, ready, _scripts(folder, ready, shape), probe)


def _loaded(side: Side, models: int, notes: list[str]) -> bool:
    """Whether so many models of it are in memory now."""
    if models == 1:
        return True
    if side.load is None:
        return False
    try:
        side.load(models)
    except Exception as error:
        notes.append(f"{side.name}, {models} models: {error!r}")
        return False
    return True


def _scripts(folder: Path, sides: list[Side], shape: Shape) -> dict[str, Path]:
    """For each side the requests of a shape, signed now."""
    bodies = load.bodies(shape.size)
    found = {}
    for number, side in enumerate(sides):
        place = folder / str(number)
        place.mkdir(exist_ok=True)
        asks = (side.ask(at % shape.models, body) for at, body in enumerate(bodies))
        found[side.name] = load.write(place, [load.wire(each, side.port) for each in asks])
    return found


def _ask(side: Side, script: Path, shape: Shape, seconds: int) -> load.Measured | str:
    """What was measured, or in words why not."""
    try:
        return load.ask(side.port, script, shape.connections, seconds)
    except AssertionError as error:
        return str(error)[-300:]


def _cell(side: Side, script: Path, shape: Shape, seconds: int) -> Cell:
    roles = side.roles()
    before = costs.spent(roles)
    seen = _ask(side, script, shape, seconds)
    if isinstance(seen, str):
        return Cell(None, {}, seen)
    return Cell(seen.load, costs.costs(before, costs.spent(roles), seen.answers), "")


def _look_inside(
    found: Run, sides: list[Side], scripts: dict[str, Path], probe: str | None
) -> None:
    """Counts of every side, and profiles of ours."""
    if shutil.which("perf") is None:
        found.notes.append(
            "system calls, allocations: perf is missing (apt-get install linux-perf)"
        )
    else:
        if probe is None:
            found.notes.append("allocations: this kernel or Python allows no probe")
        for side in sides:
            found.counts[side.name] = _counts(side, scripts[side.name], probe)
    if profile.missing():
        found.notes.append(f"where each microsecond goes: {profile.missing()}")
        return
    for side in sides:
        if side.ours and side.name != "bare":
            found.profiles[side.name] = _profile(found, side, scripts[side.name])


def _counts(side: Side, script: Path, probe: str | None) -> dict[str, dict[str, float]]:
    """One event after the other: a probe at each allocation makes threads so slow that they wait
    for each other far more often, which are system calls."""

    def one() -> int:
        seen = _ask(side, script, PROFILED, COUNT_S)
        return 1 if isinstance(seen, str) else seen.answers

    found = costs.counted(side.roles(), costs.CALLS, one)
    if probe and side.ours:
        for role, often in costs.counted(side.roles(), probe, one).items():
            found[role] |= often
    return found


def _profile(found: Run, side: Side, script: Path) -> dict[str, tables.Division]:
    """By role: microseconds per answer."""
    _say(f"{side.name}: profile")
    cells = found.cells[PROFILED, side.name]
    sampled = profile.sampled(
        side.roles(), found.profile_s, lambda seconds: _ask(side, script, PROFILED, seconds)
    )
    return {
        role: tables.Division(
            {part: share * tables.cost(cells, role) for part, share in seen.shares.items()},
            seen.samples,
        )
        for role, seen in sampled.items()
    }


def _say(text: str) -> None:
    """How far it is, for whoever waits for it."""
    sys.stderr.write(f"{datetime.now():%H:%M:%S} {text}\n")


def _section(found: Run) -> str:
    method = (
        f"`wrk -t1`, every side in turn, {found.rounds} rounds of {found.seconds} s per shape; "
        "medians, and ratios within a round with their spread. Each side is asked "
        f"{load.REQUESTS} different requests in turn (32 of 1 MB). CPU time is the kernel's count."
    )
    shapes = [shape for shape in found.shapes if any(key[0] == shape for key in found.cells)]
    parts = ["## The path of a request", "", method, ""]
    parts += tables.speed(found.cells, shapes)
    parts += tables.spending(found.cells, shapes)
    parts += tables.counts(found.counts, costs.CALLS)
    parts += tables.where(found.profiles)
    parts += targets.judged(found.cells)
    if found.notes:
        parts += ["### Left out", "", *(f"* {' '.join(note.split())}" for note in found.notes), ""]
    return "\n".join(parts)
