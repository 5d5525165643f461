"""What only the world knows of models: how large they are and how long everything takes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Flaw(Enum):
    """What is wrong with a model."""

    NONE = "none"
    MISSING = "missing"  # the store has no such artifact
    BROKEN = "broken"  # it cannot be loaded
    CRASHING = "crashing"  # some of its requests end its worker


@dataclass(frozen=True, slots=True)
class Truth:
    """One model. Its memory is what it takes in a worker of its own."""

    disk_bytes: int
    memory_bytes: int
    load_s: float  # of one vCPU
    handle_s: float  # of one vCPU, for one request
    process_bytes: int = 0  # of its memory: what models in one worker have together
    fetch_s: float = 0.0  # as recorded; 0.0: what the network makes of its size
    flaw: Flaw = Flaw.NONE


class Population(Protocol):
    """All models of a world, numbered from 0."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What requests call it."""
        ...

    def index(self, name: str) -> int:
        """The number of a name."""
        ...

    def truth(self, index: int) -> Truth:
        """The same for the same number, always."""
        ...
