"""What fact logs of running instances tell of their models and of the requests they got."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from modelplex.core import events
from modelplex.core.events import Action, Fact
from modelplex.core.keys import name_of
from modelplex.core.limits import Limits
from modelplex.core.log import checkpoint, factlog
from modelplex.sim.population import Kind, Named
from modelplex.sim.trace import open_text
from modelplex.sim.traffic import Arrival
from modelplex.sim.truth import Flaw


@dataclass(frozen=True, slots=True)
class Recording:
    """Requests of one or more instances, in order of time, and their models."""

    models: Named
    limits: Limits  # of the first log's instance
    instances: int
    times: array[float]
    numbers: array[int]  # of the models

    def arrivals(self) -> Iterator[Arrival]:
        """The requests; time begins with the first."""
        return zip(self.times, self.numbers, strict=True)


@lru_cache(maxsize=1)
def read(paths: tuple[str, ...], kind: Kind) -> Recording:
    """All logs together. What they do not tell of a model is as `kind` has it.

    Raises OSError, factlog.BadLog, checkpoint.BadCheckpoint.
    """
    reader = _Reader(kind)
    for path in paths:
        for segment in segments(Path(path.strip())):
            reader.read(segment)
    return reader.recording()


def segments(path: Path) -> list[Path]:
    """The files of a log, in order: those in an instance's folder of them, or the one named.

    Raises FileNotFoundError for a folder without any.
    """
    if not path.is_dir():
        return [path]
    found = sorted(path.glob("*.log"))
    if not found:
        raise FileNotFoundError(f"{path} holds no *.log of an instance")
    return found


class _Mean:
    """Of what was seen of one model; 0.0 of nothing."""

    __slots__ = ("count", "total")

    def __init__(self) -> None:
        self.count, self.total = 0, 0.0

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0


class _Seen:
    """Of one model, in all logs."""

    __slots__ = ("disk", "failed", "fetch_s", "handle_s", "load_s", "memory")

    def __init__(self) -> None:
        self.disk, self.memory = _Mean(), _Mean()
        self.fetch_s, self.load_s, self.handle_s = _Mean(), _Mean(), _Mean()
        self.failed = Flaw.NONE  # how it failed last, as long as it never came about


class _Reader:
    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._models = Named()
        self._seen: dict[str, _Seen] = defaultdict(_Seen)
        self._requests: list[tuple[float, int]] = []
        self._limits: list[Limits] = []
        self._instances: set[str] = set()
        self._instance = ""
        self._began: dict[tuple[str, str, str], float] = {}  # instance, "fetch" or "load", key
        self._forwarded: dict[tuple[str, int], tuple[float, str]] = {}

    def read(self, path: Path) -> None:
        with open_text(path) as lines:
            head = factlog.read_head(next(lines, ""))
            if not self._limits:
                self._limits.append(checkpoint.restore(head.checkpoint).here.limits)
            self._instances.add(head.instance)
            self._instance = head.instance
            for entry in factlog.read(lines):
                self._fact(entry.fact, entry.now, head.unix_offset)
                for order in entry.orders:
                    self._order(order, entry.now)

    def _order(self, order: Action, now: float) -> None:
        match order:
            case events.Fetch(key):
                self._began[self._instance, "fetch", key] = now
            case events.Load(key):
                self._began[self._instance, "load", key] = now
            case events.Forward(request, key):
                self._forwarded[self._instance, request] = (now, name_of(key))
            case _:
                pass

    def _fact(self, fact: Fact, now: float, offset: float) -> None:
        match fact:
            case events.Invoked(_, name):
                self._requests.append((now + offset, self._number(name)))
            case events.Answered(request):
                if begun := self._forwarded.pop((self._instance, request), None):
                    self._seen[begun[1]].handle_s.add(now - begun[0])
            case events.Recovered(key, size):
                self._seen[name_of(key)].disk.add(size)
            case events.Fetched(key, size):
                seen = self._seen[name_of(key)]
                seen.disk.add(size)
                self._ended("fetch", key, seen.fetch_s, now)
            case events.Loaded(key, size):
                seen = self._seen[name_of(key)]
                seen.memory.add(size)
                self._ended("load", key, seen.load_s, now)
            case events.FetchFailed(key):
                self._seen[name_of(key)].failed = Flaw.MISSING
            case events.LoadFailed(key):
                self._seen[name_of(key)].failed = Flaw.BROKEN
            case _:
                pass

    def _ended(self, work: str, key: str, mean: _Mean, now: float) -> None:
        began = self._began.pop((self._instance, work, key), None)
        if began is not None:
            mean.add(now - began)

    def _number(self, name: str) -> int:
        number = self._models.find(name)
        if number is None:
            number = self._models.add(name, self._kind.truth(self._kind.size_bytes))
        return number

    def recording(self) -> Recording:
        for name, seen in self._seen.items():
            number = self._models.find(name)
            if number is not None:
                self._learn(number, seen)
        self._requests.sort()
        start = self._requests[0][0] if self._requests else 0.0
        return Recording(
            self._models,
            self._limits[0],
            len(self._instances),
            array("d", (at - start for at, _ in self._requests)),
            array("L", (number for _, number in self._requests)),
        )

    def _learn(self, number: int, seen: _Seen) -> None:
        truth = self._kind.truth(int(seen.disk.mean) or self._kind.size_bytes)
        self._models.put(
            number,
            replace(
                truth,
                memory_bytes=int(seen.memory.mean) or truth.memory_bytes,
                load_s=seen.load_s.mean or truth.load_s,
                handle_s=seen.handle_s.mean or truth.handle_s,
                fetch_s=seen.fetch_s.mean,
                flaw=Flaw.NONE if seen.memory.count else seen.failed,
            ),
        )
