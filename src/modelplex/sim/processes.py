"""The processes of a simulated instance, and the memory that they take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from modelplex.sim.truth import Truth

if TYPE_CHECKING:
    from modelplex.sim.parts import Call


@dataclass(slots=True, eq=False)
class Worker:
    """A process with one model, or, with a number, with many."""

    number: int
    models: dict[str, Truth] = field(default_factory=dict)
    calls: dict[int, Call] = field(default_factory=dict)
    bytes: int = 0  # a process never gets smaller

    @property
    def share_bytes(self) -> int:
        """What each of its models takes."""
        return self.bytes // max(1, len(self.models))

    def admit(self, key: str, truth: Truth) -> None:
        """One more model."""
        self.models[key] = truth
        own = sum(each.memory_bytes - each.process_bytes for each in self.models.values())
        self.bytes = max(self.bytes, own + max(t.process_bytes for t in self.models.values()))


class Processes:
    """Who is in which worker."""

    def __init__(self) -> None:
        self.memory_bytes = 0  # what all workers take
        self.of: dict[str, Worker] = {}  # by model
        self._shared: dict[int, Worker] = {}

    def move_in(self, key: str, number: int, truth: Truth) -> Worker:
        """Let a model live in the worker of that number, and no more where it was; 0: alone."""
        worker = self._shared.setdefault(number, Worker(number)) if number else Worker(0)
        before = worker.bytes
        worker.admit(key, truth)
        self.memory_bytes += worker.bytes - before
        self.move_out(key)
        self.of[key] = worker
        return worker

    def move_out(self, key: str) -> None:
        """A model leaves its worker, which ends with its last model."""
        worker = self.of.pop(key, None)
        if worker is None:
            return
        del worker.models[key]
        if not worker.models:
            self.bury(worker)

    def bury(self, worker: Worker) -> None:
        """A worker has ended."""
        self.memory_bytes -= worker.bytes
        self._shared.pop(worker.number, None)
