"""A burst of cold models beside warm ones: what it does to the times of the warm ones.

Ten warm models are asked at random moments, so many times a second, or at a share of what the
server can answer; then many cold ones are wanted at once. Ours fetches them from the embedded
store, unpacks and loads them. MMS 1.1.11 gets its models as folders that are there already, by
`POST /models`: it fetches and unpacks nothing. Both sides run one after the other in each round,
with the same handler and Python.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple, Protocol

from benchmarks import model_server, open_loop
from benchmarks.burst_models import HANDLER, KINDS, TOML, Kind, fill_folders, fill_store
from benchmarks.open_loop import Running, Seen
from benchmarks.sides import signed_headers
from tests.support.models import make_image
from tests.support.platform import Platform

WARM = 10
BODY = b"x" * 1024
QUIET_S = 2.5  # before a burst and after it
CROWD, CROWD_S = 64, 8.0  # of the run that leaves no time for cold models
LANES, PROBE_S = 8, 2.0  # of the run that finds what a server can answer


class Side(Protocol):
    """A server with its warm models."""

    name: str
    port: int

    def warm(self) -> list[bytes]:
        """One request for each of the warm models."""

    def cold(self, names: list[str]) -> list[bytes]:
        """One request for each of these models, which the server has not loaded."""

    def forget(self, names: list[str]) -> None:
        """Unload them."""


class Ours:
    """The whole platform, signatures on."""

    name = "modelplex"

    def __init__(self, platform: Platform) -> None:
        self.port = platform.port
        self._platform = platform

    def warm(self) -> list[bytes]:
        return [self._request(f"warm{number}") for number in range(WARM)]

    def cold(self, names: list[str]) -> list[bytes]:
        return [self._request(name) for name in names]

    def forget(self, names: list[str]) -> None:
        """They may stay: there is room for all."""

    def _request(self, name: str) -> bytes:
        path = "/endpoints/burst/invocations"
        wanted = {"X-Amzn-SageMaker-Target-Model": f"{name}.tar.gz"}
        headers = signed_headers(self._platform, path, wanted, BODY)
        return _post(path, BODY, ["Host: " + self._platform.endpoint[7:], *headers])


class Theirs:
    """Multi Model Server with one worker for each model."""

    name = "MMS"

    def __init__(self, server: model_server.Side) -> None:
        self.port = server.port
        self._server = server

    def warm(self) -> list[bytes]:
        return [_post(f"/models/warm{number}/invoke", BODY) for number in range(WARM)]

    def cold(self, names: list[str]) -> list[bytes]:
        query = "/models?url={0}&model_name={0}&initial_workers=1&synchronous=true"
        return [_post(query.format(name), b"") for name in names]

    def forget(self, names: list[str]) -> None:
        for name in names:
            self._server.unload(name)


def _post(path: str, body: bytes, headers: Sequence[str] = ("Host: localhost",)) -> bytes:
    lines = [f"POST {path} HTTP/1.1", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


@dataclass(frozen=True, slots=True)
class Times:
    """What the warm requests of one round saw before, during and after the burst, in milliseconds;
    how long that took; and how many requests of both kinds had which other status than 200."""

    p50: list[float]
    p99: list[float]
    worst_ms: float
    burst_s: float
    failures: Counter[int]


def run(options: Sequence[str] = ()) -> str:
    """Measure; a Markdown section."""
    wish = _wish(options)
    with tempfile.TemporaryDirectory(prefix="modelplex-burst-") as scratch:
        seen: dict[tuple[str, Load, str], list[Times]] = {}
        with _sides(Path(scratch), wish) as sides:
            capacities = {side.name: _capacity(side) for side in sides}
            starved = [_starved(side) for side in sides]
            for turn in _turns(wish):
                for side in sides:
                    times = _measure(side, turn, turn.load.rate(capacities[side.name]))
                    seen.setdefault((turn.kind.name, turn.load, side.name), []).append(times)
    return _section(seen, capacities, wish) + "\n".join(["", *starved, ""])


class Load(NamedTuple):
    """How often the warm models are asked: so many times a second, if that is given."""

    share: float  # of what the server can answer
    per_s: float = 0.0

    def __str__(self) -> str:
        return f"{self.per_s:g}/s" if self.per_s else f"{self.share:.0%}"

    def rate(self, capacity: float) -> float:
        """Requests a second, of a server that can answer so many."""
        return self.per_s or self.share * capacity


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of this run."""

    rounds: int
    rates: list[float]
    shares: list[float]
    kinds: list[str]
    mms: bool

    @property
    def loads(self) -> list[Load]:
        return [*(Load(0.0, rate) for rate in self.rates), *map(Load, self.shares)]


@dataclass(frozen=True, slots=True)
class Turn:
    """One burst of both sides: its models' names begin with the number."""

    number: int
    kind: Kind
    load: Load

    @property
    def names(self) -> list[str]:
        return [f"b{self.number}x{model}" for model in range(self.kind.models)]


def _wish(options: Sequence[str]) -> Wish:
    parser = argparse.ArgumentParser(prog="benchmarks burst")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rates", type=float, nargs="*", default=[300.0])
    parser.add_argument("--shares", type=float, nargs="*", default=[0.3])
    parser.add_argument("--kinds", nargs="+", default=[kind.name for kind in KINDS])
    parser.add_argument("--mms", action=argparse.BooleanOptionalAction, default=True)
    return Wish(**vars(parser.parse_args(list(options))))


def _turns(wish: Wish) -> list[Turn]:
    wanted = [
        (kind, load)
        for _ in range(wish.rounds)
        for kind in KINDS
        if kind.name in wish.kinds
        for load in wish.loads
    ]
    return [Turn(number, *each) for number, each in enumerate(wanted)]


@contextmanager
def _sides(scratch: Path, wish: Wish) -> Iterator[list[Side]]:
    """The two servers, side by side, with warm models."""
    folders = scratch / "models"
    with _our_side(scratch, wish) as ours:
        if not wish.mms:
            yield [ours]
            return
        fill_folders(folders, _every_model(wish))
        binary = model_server.PEERS / "bin/multi-model-server"
        with model_server.running("MMS", binary, folders) as server:
            for number in range(WARM):
                server.call("POST", f"/models?url=warm{number}&initial_workers=1&synchronous=true")
            yield [ours, Theirs(server)]


@contextmanager
def _our_side(scratch: Path, wish: Wish) -> Iterator[Side]:
    platform = Platform(scratch / "data")
    platform.start()
    try:
        image = make_image(scratch / "image", "", TOML)
        (image / "service.py").write_text(HANDLER)
        platform.cli("build", "-t", "burst", str(image))
        fill_store(platform.data / "s3" / "burst" / "models", _every_model(wish))
        container = {"Image": "burst", "Mode": "MultiModel", "ModelDataUrl": "s3://burst/models/"}
        platform.serve("burst", container)
        yield Ours(platform)
    finally:
        platform.stop()


def _every_model(wish: Wish) -> Iterator[tuple[str, Kind]]:
    yield from ((f"warm{number}", KINDS[0]) for number in range(WARM))
    yield from ((f"late{kind.name}", kind) for kind in KINDS)
    yield from ((name, turn.kind) for turn in _turns(wish) for name in turn.names)


def _capacity(side: Side) -> float:
    """Warm answers per second with LANES requests under way."""
    _complete(Running(side.port, open_loop.busy, side.warm(), WARM, 0.5))  # all are loaded
    seen = _complete(Running(side.port, open_loop.busy, side.warm(), LANES, PROBE_S))
    return len(seen.answers) / PROBE_S


def _starved(side: Side) -> str:
    """One cold model after the other, beside more warm requests than the server can answer."""
    warm = Running(side.port, open_loop.busy, side.warm(), CROWD, CROWD_S)
    names = [f"late{kind.name}" for kind in KINDS]
    cold = [Running(side.port, open_loop.at_once, side.cold([name])) for name in names]
    warm.begin()
    time.sleep(1)
    seen = [_complete(client) for client in cold]
    warm.result()
    side.forget(names)
    times = [
        f"{kind.name} {each.answers[0].took_ms:,.0f} ms ({each.answers[0].status})"
        for kind, each in zip(KINDS, seen, strict=True)
    ]
    return f"{side.name} with {CROWD} warm requests under way, one cold model: {', '.join(times)}."


def _complete(client: Running) -> Seen:
    client.begin()
    return client.result()


def _measure(side: Side, turn: Turn, rate: float) -> Times:
    """One burst."""
    enough = multiprocessing.get_context("spawn").Event()
    warm = Running(side.port, open_loop.steady, side.warm(), rate, enough)
    cold = Running(side.port, open_loop.at_once, side.cold(turn.names))
    warm.begin()
    time.sleep(QUIET_S)
    began = time.time()
    answers = _complete(cold)
    ended = time.time()
    time.sleep(QUIET_S)
    enough.set()
    seen = warm.result()
    side.forget(turn.names)
    windows = [(began - QUIET_S + 0.5, began), (began, ended), (ended, ended + QUIET_S)]
    times = [sorted(seen.between(*window)) or [math.nan] for window in windows]
    return Times(
        p50=[_at(window, 0.5) for window in times],
        p99=[_at(window, 0.99) for window in times],
        worst_ms=times[1][-1],
        burst_s=ended - began,
        failures=seen.failures() + answers.failures(),
    )


def _at(times: list[float], share: float) -> float:
    return times[int(share * (len(times) - 1))]


def _section(
    seen: dict[tuple[str, Load, str], list[Times]], capacities: dict[str, float], wish: Wish
) -> str:
    able = ", ".join(f"{name} {rate:,.0f}" for name, rate in capacities.items())
    bursts = "; ".join(
        f"{kind.name}: {kind.models} models, {kind.weights // 1_000_000} MB of weights and "
        f"{kind.burn_s:g} s of work each"
        for kind in KINDS
    )
    rows = [
        "| burst | load | server | p50 before / during / after ms | p99 before / during / after ms "
        "| worst ms | p99 during ÷ before | spread | burst s | failed |",
        "|---|--:|---|---|---|--:|--:|---|--:|---|",
        *(_row(*key, rounds) for key, rounds in seen.items()),
    ]
    method = (
        f"{WARM} warm models, 1 KB echo; a load in percent is of what each server answers with "
        f"{LANES} requests under way ({able} per second). {bursts}. Medians of {wish.rounds} "
        "rounds, sides in turn."
    )
    return "\n".join(["## A burst of cold models", "", method, "", *rows, ""])


def _row(kind: str, load: Load, side: str, rounds: list[Times]) -> str:
    ratios = [times.p99[1] / times.p99[0] for times in rounds]
    failures = sum((times.failures for times in rounds), Counter[int]())
    cells = [
        *(kind, str(load), side),
        *(_three([times.p50 for times in rounds]), _three([times.p99 for times in rounds])),
        f"{median(times.worst_ms for times in rounds):.1f}",
        *(f"{median(ratios):.1f}", f"{min(ratios):.1f} to {max(ratios):.1f}"),
        f"{median(times.burst_s for times in rounds):.1f}",
        str(dict(failures)) if failures else "none",
    ]
    return "| " + " | ".join(cells) + " |"


def _three(rounds: list[list[float]]) -> str:
    return " / ".join(f"{median(window):.2f}" for window in zip(*rounds, strict=True))
