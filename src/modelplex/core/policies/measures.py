"""What the two rankings ask of a model: the bytes that it takes, the seconds to have it back."""

from __future__ import annotations

from dataclasses import dataclass

from modelplex.core.budget import Budget
from modelplex.core.model import Model
from modelplex.core.usage import Usage


@dataclass(slots=True)
class MemoryMeasure:
    """What a model takes in memory, and what another load of it would cost."""

    memory: Budget
    past: Usage

    def __call__(self, model: Model) -> tuple[int, float]:
        """Bytes and seconds."""
        held = self.memory.held.get(model.name) or model.known_memory_bytes
        return held, model.usage.load_s or self.past.load_s


@dataclass(slots=True)
class DiskMeasure:
    """What dropping an artifact frees, and what having the model in memory again would cost."""

    disk: Budget
    past: Usage

    def __call__(self, model: Model) -> tuple[int, float]:
        """Bytes and seconds."""
        usage, past = model.usage, self.past
        seconds = (usage.fetch_s or past.fetch_s) + (usage.load_s or past.load_s)
        return self.disk.share_bytes(model.name), seconds
