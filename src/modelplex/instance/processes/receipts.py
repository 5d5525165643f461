"""What a model's end was expected to give back, and what came back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from modelplex.instance.containers.tenant import Tenant
from modelplex.workers.shared import Resident
from modelplex.workers.worker import Worker

ENOUGH = 0.9  # of what was expected


@dataclass(frozen=True, slots=True)
class Receipt:
    """Bytes. `whole_process` is False for one of many models in a worker or container, which lives
    on and gives memory back only when it is replaced.
    """

    expected_bytes: int
    freed_bytes: int
    whole_process: bool = True

    @property
    def short(self) -> bool:
        """Whether memory is missing that should be back."""
        return self.whole_process and self.freed_bytes < ENOUGH * self.expected_bytes


async def unload(worker: Worker | Resident | Tenant | None) -> Receipt:
    """End what holds a model, measured before and after; None: nothing does any more."""
    if worker is None:
        return Receipt(0, 0)
    expected = await asyncio.to_thread(worker.memory_bytes)
    freed = await worker.unload()
    return Receipt(expected, freed, isinstance(worker, Worker))
