"""Invented models: each follows from a seed and its number, so that a million take no room."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from modelplex.sim.truth import Flaw, Truth

MIB = 1024 * 1024
KEPT_MAX = 200_000  # truths that are remembered, to save time; then all are made anew

_NORMAL = NormalDist()
_MASK = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Kind:
    """Models of one kind. A spread is the sigma of a log-normal distribution around the median;
    0.0: all alike.
    """

    count: int
    size_bytes: int = 20 * MIB  # of the artifact, unpacked; the median
    size_spread: float = 0.0
    size_max_bytes: int = 0  # larger ones are cut to this; 0: 50 times the median
    memory_per_byte: float = 1.0  # of the artifact, in memory
    process_bytes: int = 5 * MIB  # of memory for a worker without its model
    load_s: float = 0.02  # vCPU seconds: forking, importing
    load_bytes_per_s: float = 500e6  # and reading the artifact
    handle_s: float = 0.005  # vCPU seconds of one request; the median of the models
    handle_spread: float = 0.0
    missing: float = 0.0  # share of the models of which the store has no artifact
    broken: float = 0.0  # share that cannot be loaded
    crashing: float = 0.0  # share whose workers die now and then

    def __post_init__(self) -> None:
        for name in ("count", "size_bytes", "load_bytes_per_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it has to be above 0")

    def truth(self, size_bytes: int) -> Truth:
        """A model of this kind with an artifact of this size."""
        return Truth(
            disk_bytes=size_bytes,
            memory_bytes=self.process_bytes + int(size_bytes * self.memory_per_byte),
            load_s=self.load_s + size_bytes / self.load_bytes_per_s,
            handle_s=self.handle_s,
            process_bytes=self.process_bytes,
        )


class Invented:
    """A population out of kinds, in the order given. Names are m0, m1 …"""

    def __init__(self, kinds: Sequence[Kind], seed: int) -> None:
        self._kinds = tuple(kinds)
        self._seed = seed
        self._count = sum(kind.count for kind in kinds)
        self._kept: dict[int, Truth] = {}

    def __len__(self) -> int:
        return self._count

    def name(self, index: int) -> str:
        """m and the number."""
        return f"m{index}"

    def index(self, name: str) -> int:
        """The number in a name."""
        return int(name[1:])

    def truth(self, index: int) -> Truth:
        """Drawn from the kind's distributions; the same every time."""
        found = self._kept.get(index)
        if found is None:
            if len(self._kept) >= KEPT_MAX:
                self._kept.clear()
            found = self._kept[index] = self._make(self._kind(index), index)
        return found

    def _kind(self, index: int) -> Kind:
        for kind in self._kinds:
            if index < kind.count:
                return kind
            index -= kind.count
        raise IndexError(f"there are {self._count} models")

    def _make(self, kind: Kind, index: int) -> Truth:
        largest = kind.size_max_bytes or 50 * kind.size_bytes
        size = min(kind.size_bytes * self._factor(kind.size_spread, index, 1), largest)
        truth = kind.truth(max(1, int(size)))
        handle_s = kind.handle_s * self._factor(kind.handle_spread, index, 2)
        return replace(truth, handle_s=handle_s, flaw=self._flaw(kind, draw(self._seed, index, 3)))

    def _factor(self, spread: float, index: int, salt: int) -> float:
        return math.exp(spread * _NORMAL.inv_cdf(draw(self._seed, index, salt))) if spread else 1.0

    @staticmethod
    def _flaw(kind: Kind, left: float) -> Flaw:
        shares = {
            Flaw.MISSING: kind.missing,
            Flaw.BROKEN: kind.broken,
            Flaw.CRASHING: kind.crashing,
        }
        for flaw, share in shares.items():
            left -= share
            if left < 0:
                return flaw
        return Flaw.NONE


class Named:
    """A population that is told of its models one by one, by name: out of a trace or a log."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._indices: dict[str, int] = {}
        self._truths: list[Truth] = []

    def __len__(self) -> int:
        return len(self._names)

    def find(self, name: str) -> int | None:
        """The number of a name that was told before."""
        return self._indices.get(name)

    def add(self, name: str, truth: Truth) -> int:
        """A new name; its number."""
        index = self._indices[name] = len(self._names)
        self._names.append(name)
        self._truths.append(truth)
        return index

    def put(self, index: int, truth: Truth) -> None:
        """More is known of a model."""
        self._truths[index] = truth

    def name(self, index: int) -> str:
        """As it was told."""
        return self._names[index]

    def index(self, name: str) -> int:
        """Raises KeyError for a name that was never told."""
        return self._indices[name]

    def truth(self, index: int) -> Truth:
        """What is known by now."""
        return self._truths[index]


def draw(seed: int, index: int, salt: int) -> float:
    """A number above 0 and below 1 that only depends on the arguments (SplitMix64)."""
    mixed = (seed * 0x9E3779B97F4A7C15 + index * 0xD1B54A32D192ED03 + salt) & _MASK
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = ((mixed ^ (mixed >> shift)) * factor) & _MASK
    return ((mixed ^ (mixed >> 31)) + 0.5) / 2**64
