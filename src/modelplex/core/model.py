"""One model on one instance: where it is, who waits for it, and what is known of it.

ABSENT -> FETCHING -> ON_DISK -> LOADING -> LOADED -> DRAINING -> UNLOADING -> ON_DISK
                                                         ON_DISK -> DROPPING -> ABSENT
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum

from modelplex.core.events import Reason, Refusal


class State(Enum):
    ABSENT = "absent"
    FETCHING = "fetching"
    ON_DISK = "on_disk"
    LOADING = "loading"
    LOADED = "loaded"
    DRAINING = "draining"  # finishes what was forwarded to it and takes nothing new
    UNLOADING = "unloading"
    DROPPING = "dropping"


LEGAL: dict[State, frozenset[State]] = {
    State.ABSENT: frozenset({State.FETCHING, State.ON_DISK}),  # Fetch; Recovered
    State.FETCHING: frozenset({State.ON_DISK, State.ABSENT}),  # Fetched; failed or overran
    State.ON_DISK: frozenset({State.LOADING, State.DROPPING}),  # Load; Drop
    State.LOADING: frozenset({State.LOADED, State.ON_DISK}),  # Loaded; failed or out of memory
    State.LOADED: frozenset({State.DRAINING, State.ON_DISK}),  # a victim; Crashed
    State.DRAINING: frozenset({State.UNLOADING, State.ON_DISK}),  # Unload; Crashed
    State.UNLOADING: frozenset({State.ON_DISK}),  # Unloaded
    State.DROPPING: frozenset({State.ABSENT}),  # Dropped
}
AT_REST = (State.ABSENT, State.ON_DISK)  # no order is open: it waits in a line, or nobody wants it
AT_WORK = (State.FETCHING, State.LOADING)
IN_MEMORY = (State.LOADING, State.LOADED, State.DRAINING, State.UNLOADING)


@dataclass(frozen=True, slots=True)
class Row:
    """One model as the report shows it."""

    model: str
    state: str
    memory_bytes: int
    disk_bytes: int
    hits: int
    loads: int
    waiting: int
    in_flight: int
    last_used_at: float | None
    loaded_at: float | None


@dataclass(slots=True, eq=False)
class Model:
    """A record that only `Residency` changes. Times are the shell's clock, sizes are bytes."""

    name: str
    state: State = State.ABSENT
    queue: OrderedDict[int, None] = field(default_factory=OrderedDict)  # not forwarded, FIFO
    in_flight: set[int] = field(default_factory=set)  # forwarded to the worker of now
    ticket: int | None = None  # its place among those who wait; None: nobody waits
    promised: bool = False  # goes on without a request: pinned, or somebody was told to come back
    pinned: bool = False  # never a victim
    cancelled: bool = False  # the work under way is given up, its end not yet reported
    work_since: float = 0.0
    work_ends: float = 0.0  # the deadline of the fetch or load under way
    work_spent_s: float = 0.0  # by the steps before this one, towards the same load
    turn_ends: float = 0.0  # until then it is not drained while it has work
    leaves_for: tuple[Reason, str | None] = (Reason.MEMORY, None)  # while it drains
    known_memory_bytes: int = 0  # as last measured; 0: never
    least_memory_bytes: int = 0  # a load with less ran out of memory
    refused_until: float = 0.0  # it is larger than all the room, or failed behind a promise
    refused_with: tuple[Refusal, object] = (Refusal.FAILED, None)  # meanwhile
    known_disk_bytes: int = 0  # as last fetched; 0: never
    least_disk_bytes: int = 0  # a fetch with less overran
    hits: int = 0  # requests forwarded
    loads: int = 0
    last_used_at: float | None = None  # when it last got a request
    loaded_at: float | None = None

    def __repr__(self) -> str:
        where = f"{self.name} {self.state.value}"
        return f"<Model {where} | {len(self.in_flight)} in flight, {len(self.queue)} waiting>"

    @property
    def idle(self) -> bool:
        return not self.in_flight and not self.queue

    @property
    def called_for(self) -> bool:
        """Whether anything asks for bringing it into memory."""
        return bool(self.queue) or self.promised

    @property
    def worked(self) -> bool:
        """Whether it got a request since it was loaded."""
        return (self.last_used_at or 0.0) >= (self.loaded_at or 0.0) and self.hits > 0

    @property
    def forgettable(self) -> bool:
        """Whether nothing was learned of it: a name that somebody made up leaves nothing behind."""
        learned = self.known_disk_bytes or self.least_disk_bytes or self.refused_until
        return not (learned or self.pinned)

    def end_journey(self) -> None:
        """It has arrived in memory, or nobody calls for it any more."""
        self.ticket = None
        self.promised = False
        self.work_spent_s = 0.0

    def row(self, memory_bytes: int, disk_bytes: int) -> Row:
        return Row(
            model=self.name,
            state=self.state.value,
            memory_bytes=memory_bytes,
            disk_bytes=disk_bytes,
            hits=self.hits,
            loads=self.loads,
            waiting=len(self.queue),
            in_flight=len(self.in_flight),
            last_used_at=self.last_used_at,
            loaded_at=self.loaded_at,
        )
