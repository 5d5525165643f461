"""One model on one instance: where it is, who waits for it, and what is known of it.

ABSENT -> FETCHING -> ON_DISK -> LOADING -> LOADED -> DRAINING -> UNLOADING -> ON_DISK
                                                         ON_DISK -> DROPPING -> ABSENT
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from modelplex.core.events import Reason
from modelplex.core.quarantine import Pause
from modelplex.core.rules import DEFAULT, Rule
from modelplex.core.usage import Usage


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

_NOBODY: dict[int, float] = {}  # of most models; an empty one is replaced, never written to


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
    failures: int  # in a row, that count towards quarantine
    refused_until: float | None  # requests are refused at once until then, for this reason:
    reason: str


@dataclass(slots=True, eq=False)
class Model:
    """A record that only `Residency` changes. Times are the shell's clock, sizes are bytes."""

    name: str
    state: State = State.ABSENT
    queue: dict[int, float] = field(default_factory=lambda: _NOBODY)  # not forwarded; came when
    in_flight: dict[int, float] = field(default_factory=lambda: _NOBODY)  # forwarded when
    rule: Rule = DEFAULT  # what the owner wants for its name
    usage: Usage = field(default_factory=Usage)
    pause: Pause | None = None  # after a failure, or while it is refused
    ticket: int | None = None  # its place among those who wait; None: nobody waits
    promised: bool = False  # goes on without a request: pinned, or somebody was told to come back
    wanted: bool = False  # the instance itself needs it: see `events.Wanted`
    pinned: bool = False  # wanted, or so says its rule: never a victim
    worked: bool = False  # got a request since it was loaded
    cancelled: bool = False  # the work under way is given up, its end not yet reported
    work_since: float = 0.0
    work_ends: float = 0.0  # the deadline of the fetch or load under way
    work_spent_s: float = 0.0  # by the steps before this one, towards the same load
    tenure_ends: float = 0.0  # until then it is a victim only if idle, and if nobody else will do
    overloaded: bool = False  # its queue was full, and has not run empty since
    fair_at: float = 0.0  # where its next turn begins: see `turns`
    leaves_for: tuple[Reason, str | None] = (Reason.MEMORY, None)  # while it drains
    known_memory_bytes: int = 0  # as last measured; 0: never
    least_memory_bytes: int = 0  # a load with less ran out of memory
    known_disk_bytes: int = 0  # as last fetched; 0: never
    least_disk_bytes: int = 0  # a fetch with less overran
    content: str = ""  # equal for byte-identical artifacts; "": unknown
    hits: int = 0  # requests forwarded
    loads: int = 0
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
    def stays_until(self) -> float:
        """Until then its rule forbids to take it out of memory for another's sake."""
        return (self.loaded_at or 0.0) + self.rule.residency_min_s

    @property
    def forgettable(self) -> bool:
        """Whether nothing was learned of it: a name that somebody made up leaves nothing behind."""
        return not (self.known_disk_bytes or self.least_disk_bytes or self.pause or self.wanted)

    @property
    def quarantined(self) -> bool:
        """Whether it failed too often to be tried by more than one request at a time."""
        return self.pause is not None and self.pause.quarantines

    def is_refused(self, now: float) -> bool:
        """Whether requests are refused at once: after a failure, or while another one tries it."""
        pause = self.pause
        if pause is None:
            return False
        if pause.quarantines:
            return now < pause.until or self.called_for or bool(self.in_flight)
        return self.ticket is None and now < pause.until

    def enqueue(self, request: int, now: float) -> None:
        """Let a request wait, behind all others."""
        if not self.queue:
            self.queue = {}
        self.queue[request] = now

    def begin(self, request: int, now: float) -> None:
        """Note that the worker has a request."""
        if not self.in_flight:
            self.in_flight = {}
        self.in_flight[request] = now

    def next_begins(self, now: float) -> None:
        """The one that was sent ahead of its turn has it now."""
        for request in self.in_flight:
            self.in_flight[request] = now
            return

    def leave_worker(self) -> None:
        """Its worker is gone, with all that it had."""
        self.in_flight = _NOBODY
        self.worked = False

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
            last_used_at=self.usage.last_at if self.hits else None,
            loaded_at=self.loaded_at,
            failures=self.pause.failures if self.pause else 0,
            refused_until=self.pause.until if self.pause else None,
            reason=str(self.pause.failure) if self.pause else "",
        )
