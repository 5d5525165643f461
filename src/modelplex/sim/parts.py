"""What goes on in a simulated instance: its calls, its work, its workers."""

from __future__ import annotations

from dataclasses import dataclass, field

from modelplex.core import events
from modelplex.sim.truth import Truth

Work = events.Fetch | events.Load | events.Move


@dataclass(slots=True, eq=False)
class Call:
    """One request, from its arrival at the gateway to its end."""

    request: int
    index: int  # of its model
    model: str
    arrived: float
    sent: float = 0.0  # to the instance where it is now
    begun: float = 0.0  # by the handler
    start: str = ""  # "warm", "disk", "cold"; "" while it waits
    worker: Worker | None = None  # that handles it
    key: str = ""  # of the version that does


@dataclass(slots=True, eq=False)
class Task:
    """A fetch, a load or a move under way."""

    order: Work
    truth: Truth
    began: float
    bad: bool = False  # it is a version of the artifact that cannot be loaded
    over: bool = False
    home: Worker | None = None  # of a model that is to move


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


def worker_of(order: Work) -> int:
    """The number of the shared worker that it goes to; 0: one of its own, or none."""
    return 0 if isinstance(order, events.Fetch) else order.worker
