"""What happened to one model, told from the log of facts and orders.

The log has everything that was decided; here it is read for one name, and steps that belong
together (an order and the fact that answers it) become one moment with its cost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from modelplex.core import events
from modelplex.core.events import Action, Fact
from modelplex.core.keys import name_of, version_of
from modelplex.core.log.factlog import Entry

MOMENTS_MAX = 200  # the newest are kept


_ENDINGS: dict[type[Any], str] = {  # of a fetch, a load, a move, or of the worker
    events.Fetched: "fetched",
    events.FetchOverran: "fetch overran",
    events.FetchFailed: "fetch failed",
    events.Loaded: "loaded",
    events.OutOfMemory: "out of memory",
    events.LoadFailed: "load failed",
    events.Moved: "moved",
    events.MoveFailed: "move failed",
    events.Crashed: "crashed",
}


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened to the model at `at`, in the log's clock. `facts` are JSON values."""

    at: float
    what: str
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Story:
    """The newest moments of a model, and how many requests of it were answered and refused."""

    name: str
    moments: deque[Moment] = field(default_factory=lambda: deque(maxlen=MOMENTS_MAX))
    forwarded: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    began_at: float | None = None  # the first entry that was read: nothing is known from before

    def last(self, *kinds: str) -> Moment | None:
        """The newest moment of one of these kinds."""
        return next((m for m in reversed(self.moments) if m.what in kinds), None)


def tell(entries: Iterable[Entry], name: str) -> Story:
    """Read a log for one model."""
    story, teller = Story(name), _Teller(name)
    for entry in entries:
        if story.began_at is None:
            story.began_at = entry.now
        if moment := teller.fact(entry.fact, entry.now):
            story.moments.append(moment)
        for order in entry.orders:
            _count(story, order, teller.requests)
            if moment := teller.order(order, entry.now):
                story.moments.append(moment)
    return story


def _count(story: Story, order: Action, requests: set[int]) -> None:
    match order:
        case events.Forward(request, model) if name_of(model) == story.name:
            story.forwarded += 1
            requests.discard(request)
        case events.Reject(request, refusal) if request in requests:
            story.refused[refusal.value] = story.refused.get(refusal.value, 0) + 1
            requests.discard(request)


class _Teller:
    """Turns facts and orders about one name into moments."""

    def __init__(self, name: str) -> None:
        self.requests: set[int] = set()  # of the name, not yet forwarded or refused
        self._name = name
        self._began: dict[str, float] = {}  # open fetches, loads and moves, by key
        self._left: dict[str, events.Unload | events.Drop] = {}  # open unloads and drops, by key

    def order(self, order: Action, now: float) -> Moment | None:
        """What an order begins, or is by itself."""
        match order:
            case events.Fetch(key) | events.Load(key) | events.Move(key) if self._mine(key):
                self._began[key] = now
            case events.Unload(key) | events.Drop(key) if self._mine(key):
                self._left[key] = order
            case events.Switch(name, key) if name == self._name:
                return Moment(now, "switched", {"version": version_of(key)})
            case events.Discard(key, failure) if self._mine(key):
                return Moment(now, "discarded", {"version": version_of(key), "why": str(failure)})
            case events.GiveUp(key, refusal, failure) if self._mine(key):
                return Moment(now, "given up", {"refusal": refusal.value, "why": str(failure)})
            case events.Cancel(key) if self._mine(key):
                return Moment(now, "cancelled", _version(key))
        return None

    def fact(self, fact: Fact, now: float) -> Moment | None:
        """What a fact ends, or is by itself."""
        match fact:
            case events.Invoked(request, name) if name == self._name:
                self.requests.add(request)
            case events.Abandoned(request) if request in self.requests:
                self.requests.discard(request)
            case events.Changed(name, version) if name == self._name:
                return Moment(now, "changed", {"version": version})
            case events.RolledBack(name) if name == self._name:
                return Moment(now, "rolled back")
            case events.Recovered(key, size) if self._mine(key):
                return Moment(now, "recovered", {"disk_bytes": size} | _version(key))
            case events.Unloaded(key) | events.Dropped(key) if self._mine(key):
                return self._gone(key, now)
            case _:
                return self._work_ended(fact, now)
        return None

    def _work_ended(self, fact: Fact, now: float) -> Moment | None:
        key = getattr(fact, "model", "")
        if type(fact) not in _ENDINGS or not self._mine(key):
            return None
        began = self._began.pop(key, None)
        cost = {} if began is None else {"seconds": round(now - began, 6)}
        match fact:
            case events.Fetched():
                found: dict[str, Any] = {"disk_bytes": fact.disk_bytes}
            case events.Loaded() | events.Moved():
                found = {"memory_bytes": fact.memory_bytes}
            case events.FetchOverran():
                found = {"needed_bytes": fact.needed_bytes}
            case (
                events.FetchFailed() | events.LoadFailed() | events.MoveFailed() | events.Crashed()
            ):
                found = {"why": str(fact.failure)}
            case _:
                found = {}
        return Moment(now, _ENDINGS[type(fact)], cost | found | _version(key))

    def _gone(self, key: str, now: float) -> Moment:
        order = self._left.pop(key, None)
        what = "dropped" if isinstance(order, events.Drop) else "unloaded"
        if order is None:
            return Moment(now, what, _version(key))
        facts = {
            "reason": order.reason.value,
            "for_model": order.for_model and name_of(order.for_model),
        }
        return Moment(now, what, facts | _version(key))

    def _mine(self, key: str) -> bool:
        return name_of(key) == self._name


def _version(key: str) -> dict[str, Any]:
    version = version_of(key)
    return {"version": version} if version else {}
