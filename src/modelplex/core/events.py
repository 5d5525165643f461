"""What an instance's decisions are made of: facts come in, orders go out.

Facts are past participles, orders imperatives, and the state between them has the same root.
Requests are numbers and models are names: bodies, sockets and files never enter `core/`.

Every order but `Forward`, `Reject`, `Cancel` and `GiveUp` is answered by exactly one fact:

    Fetch    Fetched | FetchOverran | FetchFailed
    Load     Loaded | OutOfMemory | LoadFailed | Crashed
    Move     Moved | MoveFailed | Crashed
    Unload   Unloaded
    Drop     Dropped

A `Cancel` asks to hurry the open `Fetch` or `Load`, which is still answered (usually by its
failure). A `Forward` is answered by `Answered`, whatever became of the request or its worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from modelplex.core.rules import Rule


class Refusal(Enum):
    """Why a request is not answered by its model."""

    NOT_READY = "not_ready"  # the model is still on its way; it will be there for a later request
    FAILED = "failed"  # it could not be fetched or loaded
    OUT_OF_MEMORY = "out_of_memory"  # it does not fit even with all the memory there is
    QUEUE_FULL = "queue_full"  # too many requests wait already
    OVERLOADED = "overloaded"  # it would wait too long for its model's worker, or has done so
    QUARANTINED = "quarantined"  # it failed too often lately, and is left alone for a while


class Reason(Enum):
    """Why a model leaves memory or disk."""

    MEMORY = "memory"  # another model needs its memory
    DISK = "disk"  # another model needs its place on the disk
    UNCACHED = "uncached"  # ModelCacheSetting is Disabled: nothing stays after its answer
    OVER_BUDGET = "over_budget"  # what is there has grown beyond the budget
    REPLACED = "replaced"  # a newer version of it serves now


# -- facts: what happened -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Invoked:
    """A request for a model arrived. Its number was never used before."""

    request: int
    model: str


@dataclass(frozen=True, slots=True)
class Abandoned:
    """A request's client went away. Nothing changes for one that is already forwarded."""

    request: int


@dataclass(frozen=True, slots=True)
class Answered:
    """A forwarded request is done, well or badly."""

    request: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model is to be loaded without a request, and never to be made room of."""

    model: str


@dataclass(frozen=True, slots=True)
class Configured:
    """What the owner wants for models by name, from now on; replaces all earlier rules."""

    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Changed:
    """The store has another version of a model's artifact than the one that serves."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The owner wants the version before this one; "" means the one that serves."""

    name: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class Recovered:
    """A whole artifact was found on the disk at start."""

    model: str
    disk_bytes: int
    content: str = ""  # equal for byte-identical artifacts, which share their place; "": unknown
    version: str = ""  # the store's ETag; "": unknown
    alone: bool = False  # what it brings along forbids that it shares a worker


@dataclass(frozen=True, slots=True)
class Fetched:
    """The artifact is whole and in its place; it takes `disk_bytes`, once per `content`."""

    model: str
    disk_bytes: int
    content: str = ""
    version: str = ""
    alone: bool = False  # what it brings along forbids that it shares a worker


@dataclass(frozen=True, slots=True)
class FetchOverran:
    """The artifact needs more than its limit, at least `needed_bytes`; nothing of it is left."""

    model: str
    needed_bytes: int


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """The artifact could not be had; nothing of it is left on the disk.

    `passing` says that the artifact itself is not at fault (there is no such object yet, the store
    is away): another try makes sense at once, so it does not count towards quarantine.
    """

    model: str
    failure: object
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Loaded:
    """The worker is ready and was measured."""

    model: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """The model needs more than the limit it was loaded with; its worker is gone."""

    model: str


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """The model could not be loaded; its worker is gone."""

    model: str
    failure: object


@dataclass(frozen=True, slots=True)
class Measured:
    """What a worker takes now."""

    model: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Crashed:
    """The worker died by itself. What was forwarded to it is answered by the shell.

    `worker_lives`: only the model was taken out of it, and its neighbours are unharmed.
    `blameless`: the model had nothing to do at that time, so that it is no failure of its own.
    """

    model: str
    failure: object
    worker_lives: bool = False
    blameless: bool = False


@dataclass(frozen=True, slots=True)
class Moved:
    """The model answers from the worker that it was ordered to; it takes `memory_bytes` there."""

    model: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class MoveFailed:
    """The model stays in the worker where it was."""

    model: str
    failure: object


@dataclass(frozen=True, slots=True)
class Unloaded:
    """The worker is gone and its memory is back."""

    model: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """The artifact is gone from the disk."""

    model: str


@dataclass(frozen=True, slots=True)
class Resized:
    """All models together may take so much memory from now on; if that is less, some have to go."""

    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed: see `Residency.next_deadline`."""


# -- orders: what to do ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fetch:
    """Bring the artifact to the disk, in at most `limit_bytes` there."""

    model: str
    limit_bytes: int


@dataclass(frozen=True, slots=True)
class Load:
    """Start a worker with the artifact, in at most `limit_bytes` of memory.

    With a number, the worker of that number, which holds other models too, or is to be started.
    """

    model: str
    limit_bytes: int
    worker: int = 0


@dataclass(frozen=True, slots=True)
class Move:
    """Load a loaded model a second time, into the worker of that number, and answer from there as
    soon as it is ready; then unload it where it was, when it has answered what it has there.
    """

    model: str
    limit_bytes: int
    worker: int


@dataclass(frozen=True, slots=True)
class Forward:
    """Hand a request to its loaded model."""

    request: int
    model: str


@dataclass(frozen=True, slots=True)
class Unload:
    """End a worker. It answers nothing at this moment."""

    model: str
    reason: Reason
    for_model: str | None = None  # who gets the room


@dataclass(frozen=True, slots=True)
class Drop:
    """Remove an artifact from the disk. No worker uses it."""

    model: str
    reason: Reason
    for_model: str | None = None  # who gets the room


@dataclass(frozen=True, slots=True)
class Reject:
    """Refuse a request. `failure` is what the shell gave, or a sentence if the core gave up."""

    request: int
    refusal: Refusal
    failure: object = None
    retry_after_s: float = 0.0  # when another try should succeed, from the model's own past


@dataclass(frozen=True, slots=True)
class Switch:
    """From now on this model, a version of the name, answers to the name."""

    name: str
    model: str


@dataclass(frozen=True, slots=True)
class Discard:
    """A version is not taken: the one before it serves on. It is not tried again."""

    model: str
    failure: object


@dataclass(frozen=True, slots=True)
class Cancel:
    """Give up the fetch or load under way: it took too long, and its requests are refused."""

    model: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """A `Wanted` model cannot be had; it is not tried again unasked. As `Reject` to a request."""

    model: str
    refusal: Refusal
    failure: object = None


RequestFact = Invoked | Abandoned | Answered
OwnerFact = Configured | Changed | RolledBack | Wanted
ArtifactFact = Recovered | Fetched | FetchOverran | FetchFailed | Dropped
WorkerFact = Loaded | OutOfMemory | LoadFailed | Moved | MoveFailed | Measured | Crashed | Unloaded
OtherFact = OwnerFact | ArtifactFact | WorkerFact | Resized | Tick
Fact = RequestFact | OtherFact
WorkOrder = Fetch | Load | Move | Unload | Drop
OtherAction = WorkOrder | Reject | Switch | Discard | Cancel | GiveUp
Action = Forward | OtherAction
