"""What is asked in a soak, in which proportion, and what answers are right."""

from __future__ import annotations

import random
from dataclasses import dataclass

BODY_BYTES = 1000
LARGE_BYTES = 200_000
OVERSIZED_BYTES = 6 * 1024 * 1024 + 1
WARM_MODELS, COLD_MODELS, FAILING_MODELS = 30, 300, 4
INVOCATION_TIMEOUT_S = 5
NAMED = frozenset({"raises", "exits", "is killed", "lacks memory", "no such model"})
SHED = frozenset({429, 503})  # an answer to overload, right for every kind; counted by itself

# Its answer is its own name and what it was sent, so that nobody can get another's.
HANDLER = """
import os, time
from pathlib import Path

STATE = {}


def handle(data, context):
    if data is None:
        STATE["name"] = Path("name.txt").read_bytes()
        if STATE["name"].startswith(b"greedy"):
            bytearray(1 << 50)
        return None
    body = bytes(data[0]["body"])
    word = body.partition(b" ")[0]
    if word == b"raise":
        raise ValueError("asked to")
    if word == b"memory":
        raise MemoryError
    if word == b"exit":
        os._exit(3)
    if word == b"kill":
        os.kill(os.getpid(), 9)
    if word == b"sleep":
        time.sleep(60)
    return [STATE["name"] + b" " + body]
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """Requests of one kind: how often, to which models, and the statuses that are right."""

    share: float
    models: tuple[str, int]  # the beginning of their names, and how many there are
    right: frozenset[int]
    word: str = "echo"
    body_bytes: int = BODY_BYTES


def _kind(share: float, right: int, word: str, models: tuple[str, int], size: int = 1000) -> Kind:
    return Kind(share, models, frozenset({right}), word, size)


_WARM, _COLD = ("warm", WARM_MODELS), ("cold", COLD_MODELS)
KINDS: dict[str, Kind] = {
    "warm": _kind(0.8425, 200, "echo", _WARM),
    "large": _kind(0.04, 200, "echo", _WARM, LARGE_BYTES),
    "slow client": _kind(0.005, 200, "echo", _WARM, LARGE_BYTES),
    "client vanishes": _kind(0.02, 0, "echo", _WARM, LARGE_BYTES),
    "cold": _kind(0.03, 200, "echo", _COLD),
    "raises": _kind(0.02, 424, "raise", ("raise", FAILING_MODELS)),
    "exits": _kind(0.001, 424, "exit", ("exit", FAILING_MODELS)),
    "is killed": _kind(0.001, 424, "kill", ("kill", FAILING_MODELS)),
    "times out": _kind(0.0003, 424, "sleep", ("sleep", FAILING_MODELS)),
    "lacks memory": _kind(0.003, 424, "memory", ("memory", FAILING_MODELS)),
    "cannot be loaded": _kind(0.0002, 424, "echo", ("greedy", FAILING_MODELS)),
    "oversized": _kind(0.002, 413, "echo", _WARM, OVERSIZED_BYTES),
    "bad signature": _kind(0.015, 403, "echo", _WARM),
    "no such endpoint": _kind(0.01, 400, "echo", _WARM),
    "no such model": _kind(0.01, 400, "echo", ("absent", 50)),
}
STORED = (_WARM, _COLD, *((name, FAILING_MODELS) for name in ("raise", "exit", "kill")))
STORED += tuple((name, FAILING_MODELS) for name in ("sleep", "memory", "greedy"))


@dataclass(frozen=True, slots=True)
class Wish:
    """One request to be made."""

    kind: str
    model: str
    body: bytes

    @property
    def answer(self) -> bytes:
        """What its model says."""
        return f"{self.model} ".encode() + self.body


class Draw:
    """Requests drawn from the mix; each body holds a token that no other has."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._names = list(KINDS)
        self._shares = [kind.share for kind in KINDS.values()]
        self._drawn = 0

    def wish(self) -> Wish:
        """The next request."""
        self._drawn += 1
        (name,) = self._random.choices(self._names, self._shares)
        kind = KINDS[name]
        token = f"{kind.word} {self._drawn:012d} {self._random.getrandbits(64):016x} ".encode()
        prefix, count = kind.models
        model = f"{prefix}{self._random.randrange(count)}"
        return Wish(name, model, token + b"." * (kind.body_bytes - len(token)))

    def pause_s(self, rate: float) -> float:
        """Until the one after: arrivals come as they like."""
        return self._random.expovariate(rate)
