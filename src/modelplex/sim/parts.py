"""What a simulated instance has, and what goes on in it: calls, and work."""

from __future__ import annotations

from dataclasses import dataclass

from modelplex.core import events
from modelplex.core.events import Fact
from modelplex.core.limits import Limits
from modelplex.core.rules import Rule
from modelplex.sim.processes import Worker
from modelplex.sim.truth import Truth

Work = events.Fetch | events.Load | events.Move


@dataclass(frozen=True, slots=True)
class Make:
    """What an instance has, and how fast it is."""

    limits: Limits
    vcpus: float
    network_bytes_per_s: float = 1.25e9 / 8
    fetch_latency_s: float = 0.03  # from the order to the artifact's first byte
    unload_s: float = 0.01
    drop_s: float = 0.01
    rules: tuple[Rule, ...] = ()


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
    gateway: int = 0  # that it came to


@dataclass(slots=True, eq=False)
class Task:
    """A fetch, a load or a move under way."""

    order: Work
    truth: Truth
    began: float
    bad: bool = False  # it is a version of the artifact that cannot be loaded
    over: bool = False
    home: Worker | None = None  # of a model that is to move


def worker_of(order: Work) -> int:
    """The number of the shared worker that it goes to; 0: one of its own, or none."""
    return 0 if isinstance(order, events.Fetch) else order.worker


def not_loaded(order: Work, failure: str) -> Fact:
    """How a load or a move ends badly."""
    if isinstance(order, events.Move):
        return events.MoveFailed(order.model, failure)
    return events.LoadFailed(order.model, failure)
