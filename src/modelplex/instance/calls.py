"""One request on its way through the instance, and where its time went."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from modelplex.aws.errors import ServiceError
from modelplex.instance.containers.tenant import Tenant
from modelplex.lanes.landing import Asked
from modelplex.workers.invocations import Answer, Invocation
from modelplex.workers.shared import Resident
from modelplex.workers.worker import Worker

# What answers for one model: a process, its place in one, or in a container.
AnyWorker = Worker | Resident | Tenant

Ended = Callable[["Call", Answer | ServiceError], None]
NO_INVOCATION = Invocation([], b"")


def nobody(_: Call, __: Answer | ServiceError) -> None:
    """Nobody wants to know."""


@dataclass(slots=True)
class Work:
    """When a model was last fetched and last loaded, in the shell's seconds; 0.0: not yet."""

    fetch_began: float = 0.0
    fetch_ended: float = 0.0
    load_began: float = 0.0
    load_ended: float = 0.0


@dataclass(slots=True, eq=False)
class Call:
    """A request for a model. It is decided once: given its worker, or refused.

    The seconds say where its time went: `queue_s` is all that it waited for neither a fetch nor a
    load, but for its turn, for memory, for a place among the fetches.
    """

    model: str  # its name
    arrived_at: float
    invocation: Invocation = NO_INVOCATION
    asked: Asked | None = None  # who waits for its answer, behind a lane
    on_end: Ended = nobody  # hears of its answer, or why there is none, once; not if abandoned
    number: int = 0  # that residency knows it by, of the newest try
    tries: int = 0
    key: str = ""  # of the version that answers
    waited: bool = False  # it was not decided at once
    retry_after_s: float = 0.0  # with a refusal: when another try should succeed; 0.0: not said
    start: str = "warm"  # or "disk": waited for a load; "cold": waited for a fetch too
    queue_s: float = 0.0
    fetch_s: float = 0.0
    load_s: float = 0.0
    handle_s: float = 0.0

    def decide(self, now: float, work: Work | None) -> None:
        """It has its worker, or will not have one. `work` is what the model went through."""
        if not self.waited:
            return
        if work is not None:
            self.fetch_s = self._overlap(now, work.fetch_began, work.fetch_ended)
            self.load_s = self._overlap(now, work.load_began, work.load_ended)
        self.queue_s = max(0.0, now - self.arrived_at - self.fetch_s - self.load_s)
        self.start = "cold" if self.fetch_s else "disk" if self.load_s else "warm"

    def _overlap(self, until: float, began: float, ended: float) -> float:
        """Seconds of the wait in an interval; it is still open if it "ended" before it began."""
        if not began:
            return 0.0
        end = ended if ended >= began else until
        return max(0.0, min(until, end) - max(self.arrived_at, began))
