"""One request on its way through the instance, and where its time went."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from modelplex.aws.errors import ServiceError
from modelplex.instance.containers.tenant import Tenant
from modelplex.workers.shared import Resident
from modelplex.workers.worker import Worker

# What answers for one model: a process, its place in one, or in a container.
AnyWorker = Worker | Resident | Tenant


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
    key: str = ""  # of the version that answers
    worker: AnyWorker | None = None
    refusal: ServiceError | None = None
    retry_after_s: float = 0.0  # with a refusal: when another try should succeed; 0.0: not said
    decided: asyncio.Future[None] | None = None  # only made when it has to wait
    start: str = "warm"  # or "disk": waited for a load; "cold": waited for a fetch too
    queue_s: float = 0.0
    fetch_s: float = 0.0
    load_s: float = 0.0
    handle_s: float = 0.0

    def forward(self, key: str, worker: AnyWorker, now: float, work: Work | None) -> None:
        """It has its worker. `work` is what the model went through."""
        self.key, self.worker = key, worker
        self._decide(now, work)

    def again(self) -> None:
        """It is to be decided anew: its worker died before it came to it."""
        self.worker = self.decided = None

    def refuse(self, error: ServiceError, now: float, work: Work | None) -> None:
        """It will not have one."""
        self.refusal = error
        self._decide(now, work)

    def _decide(self, now: float, work: Work | None) -> None:
        if self.decided is None:  # at once: it waited for nothing
            return
        if work is not None:
            self.fetch_s = self._overlap(now, work.fetch_began, work.fetch_ended)
            self.load_s = self._overlap(now, work.load_began, work.load_ended)
        self.queue_s = max(0.0, now - self.arrived_at - self.fetch_s - self.load_s)
        self.start = "cold" if self.fetch_s else "disk" if self.load_s else "warm"
        if not self.decided.done():
            self.decided.set_result(None)

    def _overlap(self, until: float, began: float, ended: float) -> float:
        """Seconds of the wait in an interval; it is still open if it "ended" before it began."""
        if not began:
            return 0.0
        end = ended if ended >= began else until
        return max(0.0, min(until, end) - max(self.arrived_at, began))

    def milliseconds(self) -> dict[str, float]:
        """The timings as answers and the journal give them."""
        return {
            "queue": _ms(self.queue_s),
            "fetch": _ms(self.fetch_s),
            "load": _ms(self.load_s),
            "handle": _ms(self.handle_s),
        }


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3) if seconds else 0.0
