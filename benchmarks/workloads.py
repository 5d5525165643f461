"""Models and traffic for `policies.py`: invented from a seed, or read from public traces.

The traces are not ours to hand on. They are read from the folder that MODELPLEX_TRACES names; which
files of which projects is said in `TRACES`.
"""

from __future__ import annotations

import csv
import hashlib
import lzma
import math
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from io import StringIO
from itertools import islice
from pathlib import Path
from random import Random

from modelplex.sim.population import MIB, Invented, Kind, Named, draw
from modelplex.sim.traffic import Arrival, Stream, merge
from modelplex.sim.truth import Population, Truth

SEED = 1
PROCESS_BYTES = 5 * MIB
# What models of the named sorts take and cost; the share of each, of 100.
FLEET = (
    Kind(60, 10 * MIB, size_spread=0.6, load_s=0.03, load_bytes_per_s=500e6),  # scikit-learn
    Kind(15, 80 * MIB, size_spread=0.6, load_s=0.1, load_bytes_per_s=400e6),  # boosted trees
    Kind(15, 45 * MIB, size_spread=0.5, load_s=1.5, load_bytes_per_s=200e6),  # slow imports
    Kind(7, 500 * MIB, size_spread=0.4, load_s=2.0, load_bytes_per_s=150e6),  # networks
    Kind(3, 700 * MIB, size_spread=0.3, load_s=0.3, load_bytes_per_s=2e9),  # mapped tables
)


@dataclass(frozen=True, slots=True)
class Workload:
    """Models, requests, and an instance's memory as a share of what all these models take."""

    name: str
    about: str
    models: Population
    arrivals: tuple[Arrival, ...]
    memory_share: float = 0.1

    @property
    def asked(self) -> set[int]:
        return {model for _, model in self.arrivals}

    @property
    def memory_bytes(self) -> int:
        """At least twice the largest model."""
        sizes = [self.models.truth(model).memory_bytes for model in self.asked]
        return max(int(self.memory_share * sum(sizes)), 2 * max(sizes))


def fleet(models: int) -> Invented:
    """Small and large ones, whose costs do not follow from their sizes."""
    return Invented([_several(kind, models) for kind in FLEET], SEED)


def _several(kind: Kind, models: int) -> Kind:
    return Kind(
        math.ceil(models * kind.count / 100),
        kind.size_bytes,
        size_spread=kind.size_spread,
        load_s=kind.load_s,
        load_bytes_per_s=kind.load_bytes_per_s,
    )


def invented(requests: int) -> Iterator[Workload]:
    """Those that need no files."""
    mixed, alike = fleet(5000), Invented([Kind(5000, 50 * MIB, load_s=0.3)], SEED)
    zipf = Stream(rate_per_s=6.0, skew=0.9)
    yield _streamed("zipf, mixed sizes", "skew 0.9, 5,000 models", mixed, requests, zipf)
    yield _streamed("zipf, equal sizes", "skew 0.9, 5,000 models alike", alike, requests, zipf)
    day = Stream(
        rate_per_s=4.0, skew=0.9, daily=0.8, day_s=14_400, shift_every_s=600, shift_share=0.05
    )
    yield _streamed(
        "daily rhythm",
        "skew 0.9; days of 4 h; every 10 min 5 % of the ranks go to other models",
        mixed,
        requests,
        day,
    )
    hours = [
        Stream("scan", rate_per_s=8.0, start_s=hour * 3600.0, end_s=hour * 3600 + 625.0)
        for hour in range(1, 100)
    ]
    bursts = Stream(rate_per_s=4.0, skew=0.9, burst_every_s=600, burst_s=20, burst_factor=5)
    yield _streamed(
        "batch jobs and bursts",
        "skew 0.9 with bursts; every hour a job asks for all 5,000 models in turn",
        mixed,
        requests,
        bursts,
        *hours,
    )
    thrash = (Stream("hot", rate_per_s=20.0), Stream("scan", rate_per_s=4.0))
    for name, models in (("mixed sizes", fleet(400)), ("equal sizes", _alike(400))):
        yield _streamed(
            f"one hot, many cold, {name}",
            "5 of 6 requests for one model, the rest in turn for 400, with room for half",
            models,
            requests,
            *thrash,
            memory_share=0.5,
        )
    yield Workload(
        "visits",
        "20,000 models; 1 to 50 requests within minutes, then none for hours",
        models := fleet(20_000),
        tuple(islice(_visits(len(models)), requests)),
        memory_share=0.03,
    )


def _alike(models: int) -> Invented:
    return Invented([Kind(models, 50 * MIB, load_s=0.3)], SEED)


def _streamed(
    name: str,
    about: str,
    models: Invented,
    requests: int,
    *streams: Stream,
    memory_share: float = 0.1,
) -> Workload:
    arrivals = [
        stream.arrivals(len(models), f"{SEED} {number}") for number, stream in enumerate(streams)
    ]
    first = tuple(islice(merge(arrivals), requests))
    return Workload(name, about, models, first, memory_share)


def _visits(models: int) -> Iterator[Arrival]:
    """Visits begin at random moments, each to a model drawn anew."""
    random = Random(SEED)
    under_way: list[tuple[float, int, int]] = []  # next request, model, requests left
    begins = 0.0
    while True:
        if not under_way or begins <= under_way[0][0]:
            left = 1 + int(random.expovariate(1 / 12))
            heappush(under_way, (begins, random.randrange(models), left))
            begins += random.expovariate(0.4)
        now, model, left = heappop(under_way)
        yield now, model
        if left > 1:
            heappush(under_way, (now + random.expovariate(1 / 30), model, left - 1))


# -- public traces --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Trace:
    """A file of another project. `layout` is csv, or how `struct` reads its numbers; sizes in the
    trace are multiplied by `scale`.
    """

    name: str
    source: str
    commit: str
    path: str
    rate_per_s: float
    layout: str
    scale: float = 0.0  # 0.0: the trace has no sizes, the models are those of `fleet`


_CAFFEINE = ("github.com/ben-manes/caffeine", "ccef95542a9181182a60f5c6c33d2a0642c73574")
_LIB_CACHE_SIM = ("github.com/1a1a11a/libCacheSim", "aa0fc40914b2b786f4b9f4dafb099f8f332b216a")
_PARSERS = "simulator/src/main/resources/com/github/benmanes/caffeine/cache/simulator/parser"
TRACES = (
    Trace(
        "content network", *_CAFFEINE, f"{_PARSERS}/adapt_size/request.trace.xz", 2.0, "csv", 1e3
    ),
    Trace("shop: product pages", *_CAFFEINE, f"{_PARSERS}/cache2k/web07.trace.xz", 4.0, ">I"),
    Trace("shop: database objects", *_CAFFEINE, f"{_PARSERS}/cache2k/orm-busy.trace.xz", 8.0, ">I"),
    Trace("virtual disk w106", *_CAFFEINE, f"{_PARSERS}/cloud_physics/w106.trace.xz", 8.0, "<I"),
    Trace("virtual disk, sizes", *_LIB_CACHE_SIM, "data/cloudPhysicsIO.csv", 2.0, "csv", 2e3),
)


def recorded(requests: int) -> Iterator[tuple[Workload, str]]:
    """Those whose files are in MODELPLEX_TRACES, by their last name; with what was read."""
    folder = os.environ.get("MODELPLEX_TRACES", "")
    for trace in TRACES if folder else ():
        file = Path(folder) / Path(trace.path).name
        if file.exists():
            packed = file.read_bytes()
            digest = hashlib.sha256(packed).hexdigest()
            told = f"{trace.name}: {trace.source} {trace.path} at {trace.commit}, sha256 {digest}"
            data = lzma.decompress(packed) if file.suffix == ".xz" else packed
            yield _played(trace, islice(_rows(trace, data), requests)), told


def _rows(trace: Trace, data: bytes) -> Iterator[tuple[str, float]]:
    """Name and size (0.0: not told) of what was asked for. Times of traces are not used."""
    if trace.layout != "csv":
        whole = len(data) - len(data) % struct.calcsize(trace.layout)
        yield from (
            (str(number), 0.0) for (number,) in struct.iter_unpack(trace.layout, data[:whole])
        )
        return
    text = StringIO(data.decode())
    if trace.path.endswith(".csv"):
        yield from ((row["lbn"], float(row["size"])) for row in csv.DictReader(text))
    else:
        yield from ((row[1], float(row[2])) for row in csv.reader(text, delimiter=" "))


def _played(trace: Trace, rows: Iterable[tuple[str, float]]) -> Workload:
    """The requests at random moments, in the trace's order."""
    random = Random(SEED)
    sizes: dict[str, float] = {}
    names: list[str] = []
    for name, size in rows:
        sizes.setdefault(name, size)
        names.append(name)
    models = Named()
    numbers = {name: models.add(name, truth) for name, truth in _truths(trace, sizes)}
    now, arrivals = 0.0, []
    for name in names:
        now += random.expovariate(trace.rate_per_s)
        arrivals.append((now, numbers[name]))
    about = f"{len(names):,} requests, {len(sizes):,} objects; see below"
    return Workload(f"trace: {trace.name}", about, models, tuple(arrivals))


def _truths(trace: Trace, sizes: dict[str, float]) -> Iterator[tuple[str, Truth]]:
    """Objects without sizes become models of the fleet, each kind spread over all of them."""
    invented = fleet(len(sizes))
    order = list(range(len(invented)))
    Random(SEED).shuffle(order)
    for place, (name, size) in enumerate(sizes.items()):
        yield name, _sized(place, size * trace.scale) if size else invented.truth(order[place])


def _sized(index: int, size: float) -> Truth:
    """Costs spread over more than a decade at the same size."""
    size = max(1, int(size))
    base_s = 0.03 * 30 ** draw(SEED, index, 1)
    speed = 100e6 * 10 ** draw(SEED, index, 2)
    return Truth(size, size + PROCESS_BYTES, base_s + size / speed, 0.005, PROCESS_BYTES)
