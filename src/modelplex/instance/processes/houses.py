"""The shared workers of an instance, by the numbers that residency gives them.

A process starts with the first model that is to be loaded into it, and ends when it holds none and
none is on its way. When it has died, its number would get a new one; residency gives none twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from modelplex.instance.tasks import Tasks
from modelplex.workers.model import ModelSpec
from modelplex.workers.shared import Resident, SharedWorker


@dataclass(slots=True, eq=False)
class _House:
    """One process, and the models in it by key."""

    start: asyncio.Task[SharedWorker]
    coming: int = 0
    models: dict[str, Resident] = field(default_factory=dict)

    @property
    def gone(self) -> bool:
        """Whether no model can be loaded into it any more."""
        if not self.start.done():
            return False
        failed = self.start.cancelled() or self.start.exception() is not None
        return failed or self.start.result().exited.done()


class Houses:
    """Where the models live that share."""

    def __init__(self, start: Callable[[float], Coroutine[Any, Any, SharedWorker]] | None) -> None:
        """`start` makes a process; see `Pools.shared`. None: no models share any."""
        self._start = start
        self._houses: dict[int, _House] = {}
        self._number: dict[Resident, int] = {}
        self._tasks = Tasks()

    def number(self, resident: Resident) -> int:
        """The number of its worker."""
        return self._number.get(resident, 0)

    def models(self, number: int) -> dict[str, Resident]:
        """The models in a worker, by key."""
        house = self._houses.get(number)
        return house.models if house else {}

    def is_gone(self, number: int) -> bool:
        """Whether the process of that number has died."""
        house = self._houses.get(number)
        return house is None or house.gone

    async def load(self, number: int, key: str, spec: ModelSpec, timeout_s: float) -> Resident:
        """Load a model into a worker. Raises as `SharedWorker.load` does."""
        house = self._houses.get(number)
        if house is None or house.gone:
            assert self._start is not None, "models share no processes here"
            house = self._houses[number] = _House(self._tasks.begin(self._start(timeout_s)))
        house.coming += 1
        try:
            worker = await asyncio.shield(house.start)
            resident = await worker.load(spec, timeout_s)
            house.models[key] = resident
            self._number[resident] = number
            return resident
        finally:
            house.coming -= 1
            self._tidy(number, house)

    def left(self, key: str, resident: Resident) -> None:
        """A model is in its worker no more; the last one's leaving ends it."""
        number = self._number.pop(resident, None)
        if number is None or (house := self._houses.get(number)) is None:
            return
        if house.models.get(key) is resident:
            del house.models[key]
        self._tidy(number, house)

    def close(self) -> None:
        """Begin nothing more; the processes are the pool's to end."""
        self._tasks.cancel()

    def _tidy(self, number: int, house: _House) -> None:
        if house.coming or house.models:
            return
        if self._houses.get(number) is house:
            del self._houses[number]
        if house.start.done() and not house.gone:
            self._tasks.begin(house.start.result().end())
