"""What is where on one instance, and the steps that models can take: each keeps all books at once.

Whether and when to take one is decided elsewhere: by what happened (`facts/`) and by who is next
(`advance`).
"""

from __future__ import annotations

from collections import OrderedDict

from modelplex.core import events, protection
from modelplex.core.budget import Budget
from modelplex.core.events import Action, Reason
from modelplex.core.footprint import Footprints
from modelplex.core.limits import Limits
from modelplex.core.model import AT_REST, LEGAL, Model, State
from modelplex.core.policies import POLICIES
from modelplex.core.policies.measures import DiskMeasure, MemoryMeasure
from modelplex.core.policies.ranking import Ranking
from modelplex.core.queues import Line, Requests
from modelplex.core.rules import Rule
from modelplex.core.sharing import moves
from modelplex.core.sharing.groups import ALONE, Groups
from modelplex.core.turns import Turns
from modelplex.core.usage import Usage
from modelplex.core.versions.tracks import Versions

_FOR_ROOM = (Reason.MEMORY, Reason.DISK, Reason.OVER_BUDGET)


class Holdings:
    """Models, their requests, and the bytes they hold. Orders gather in `orders`."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.memory = Budget(limits.memory_bytes)
        self.disk = Budget(limits.disk_bytes)
        self.footprints = Footprints()
        self.requests = Requests(limits.model_ready_timeout_s)
        self.turns = Turns()
        self.past = Usage()  # of all models: the means that stand for what one has not shown yet
        policy = POLICIES[limits.policy]
        self.memory_ranking = Ranking(policy(), MemoryMeasure(self.memory, self.past))
        self.disk_ranking = Ranking(policy(), DiskMeasure(self.disk, self.past))
        self.rules: tuple[Rule, ...] = ()
        self.versions = Versions(limits.remembered_max)
        self.groups = Groups(limits) if limits.models_per_worker > 1 else None
        self.moves = moves.Moves()
        self.models: dict[str, Model] = {}
        self.pinned: dict[str, Model] = {}
        self.places = {state: OrderedDict[str, Model]() for state in State}  # in order of coming
        self.absent = self.places[State.ABSENT]
        self.fetching = self.places[State.FETCHING]
        self.on_disk = self.places[State.ON_DISK]  # and not in memory
        self.loading = self.places[State.LOADING]
        self.loaded = self.places[State.LOADED]
        self.draining = self.places[State.DRAINING]
        self.unloading = self.places[State.UNLOADING]
        self.fetch_line = Line()
        self.load_line = Line()
        self.tickets = 0
        self.now = 0.0  # of the fact that is being handled
        self.retry_at: float | None = None  # when there may be victims for one who waits for room
        self.protected: list[tuple[float, str]] = []  # until when loaded models keep their places
        self.orders: list[Action] = []  # of the fact that is being handled

    def model(self, name: str) -> Model:
        model = self.models.get(name)
        if model is None:
            model = self.models[name] = self.absent[name] = Model(name)
            if self.rules:
                protection.apply_rule(self, model)
        return model

    def promise(self, model: Model) -> None:
        """Let a model that is not loaded come without a request."""
        model.promised = True
        self.call_for(model)

    def enter(self, model: Model, state: State) -> None:
        assert state in LEGAL[model.state], f"{model.name}: {model.state} -> {state}"
        del self.places[model.state][model.name]
        self.places[state][model.name] = model
        self._rank(model, model.state, state)
        model.state = state

    def _rank(self, model: Model, before: State, after: State) -> None:
        if after is State.LOADED:
            self.memory_ranking.touch(model)
        elif after is State.ON_DISK:
            self.disk_ranking.touch(model)
        if before is State.LOADED:
            self.turns.leave(model)
            self.memory_ranking.remove(model)
        elif before is State.ON_DISK:
            self.disk_ranking.remove(model)

    def wake(self, at: float | None) -> None:
        """Look again then, if not earlier, whether one who waits for room can have it."""
        if at is not None and (self.retry_at is None or at < self.retry_at):
            self.retry_at = at

    def tidy(self, model: Model) -> None:
        """Leave nothing behind of a name that was only asked for."""
        if model.state is State.ABSENT and model.ticket is None and model.forgettable:
            self._forget(model)

    def _forget(self, model: Model) -> None:
        del self.absent[model.name], self.models[model.name]
        self.pinned.pop(model.name, None)

    def call_for(self, model: Model) -> bool:
        """Give a model a ticket if it has none; whether it now stands in a line."""
        if model.ticket is not None:
            return False
        self._give_ticket(model)
        if model.state in AT_REST:
            self._join_line(model)
            return True
        return False

    def _give_ticket(self, model: Model) -> None:
        self.tickets += 1
        model.ticket = self.tickets

    def _line(self, model: Model) -> Line:
        return self.fetch_line if model.state is State.ABSENT else self.load_line

    def _join_line(self, model: Model) -> None:
        assert model.ticket is not None
        self.places[model.state].move_to_end(model.name)  # those at rest are found before it
        self._line(model).add(model.ticket, model.name)

    def leave_line(self, model: Model) -> None:
        assert model.ticket is not None
        self._line(model).remove(model.ticket, model.name)

    def settle(self, model: Model) -> None:
        """A model came to rest: it waits for its next step, or stays where it is, or goes."""
        if model.called_for:
            if model.ticket is None:
                self._give_ticket(model)
            self._join_line(model)
            return
        model.end_journey()
        if model.state is State.ON_DISK and not self.versions.is_kept(model.name):
            self.drop(model, Reason.REPLACED, None)
        elif model.state is State.ON_DISK and not self.limits.cache_enabled:
            self.drop(model, Reason.UNCACHED, None)
        elif model.state is State.ABSENT and model.forgettable:
            self._forget(model)
        elif model.state is State.ABSENT:
            self.absent.move_to_end(model.name)
            self._bound_memories()
        elif model.state is State.ON_DISK:
            self.disk_ranking.touch(model)  # it may cost something else than when it came

    def _bound_memories(self) -> None:
        """Forget the one that was used least recently if too many are remembered."""
        if len(self.absent) - len(self.fetch_line) > self.limits.remembered_max:
            remembered = (m for m in self.absent.values() if m.ticket is None and not m.wanted)
            if oldest := next(remembered, None):
                self._forget(oldest)

    def fetch(self, model: Model, limit: int, now: float) -> None:
        self.disk.reserve(model.name, limit)
        self._start_work(model, State.FETCHING, now)
        self.orders.append(events.Fetch(model.name, limit))

    def load(self, model: Model, limit: int, now: float, worker: int = ALONE) -> None:
        self.memory.reserve(model.name, limit)
        self._start_work(model, State.LOADING, now)
        if self.groups is not None and worker != ALONE:
            self.groups.join(model.name, worker, now)
        self.orders.append(events.Load(model.name, limit, worker))

    def _start_work(self, model: Model, state: State, now: float) -> None:
        self.leave_line(model)
        self.enter(model, state)
        model.work_since = now
        model.work_ends = now + self.limits.model_load_timeout_s - model.work_spent_s

    @property
    def calm(self) -> bool:
        """Whether nothing is under way and nobody waits, so that nothing can be timed."""
        busy = self.fetching or self.loading or self.requests.waiting or self.versions.waiting
        return not busy and self.groups is None and self.retry_at is None

    def at_work(self) -> list[Model]:
        return [*self.fetching.values(), *self.loading.values()]

    def stop_work(self, model: Model, state: State, now: float) -> bool:
        """A fetch or load has come to its end; whether it still counts, that is, was not cancelled.

        After a cancelled one, those who wait came later and are owed a try of their own.
        """
        assert model.state is state, f"{model.name} is {model.state.value}, not {state.value}"
        if model.cancelled:
            model.cancelled = False
            return False
        model.work_spent_s += now - model.work_since
        return True

    def back_to_rest(self, model: Model) -> None:
        """Undo a fetch or load."""
        if model.state is State.FETCHING:
            self.disk.release(model.name)
            self.enter(model, State.ABSENT)
        else:
            moves.left(self, model, self.now, loading=True)
            self.memory.release(model.name)
            self.enter(model, State.ON_DISK)

    def rest_on_disk(self, model: Model, size: int, content: str) -> None:
        self.disk.reserve(model.name, size, content)
        self.footprints.fetched(size)
        model.content = content
        model.known_disk_bytes = size
        self.enter(model, State.ON_DISK)
        self.settle(model)

    def drain(self, model: Model, reason: Reason, for_model: str | None, now: float) -> None:
        """Admit no more to a loaded model; it is unloaded when it has answered what it has."""
        if reason in _FOR_ROOM:
            self.memory_ranking.evict(model)
        self.enter(model, State.DRAINING)
        moves.quit_line(self, model)
        self.memory.depart(model.name)
        self.requests.await_reload(model, now)
        if model.called_for:
            self._give_ticket(model)
        model.leaves_for = (reason, for_model)
        self.unload_if_drained(model)

    def unload_if_drained(self, model: Model) -> None:
        if not model.in_flight:
            self.enter(model, State.UNLOADING)
            self.orders.append(events.Unload(model.name, *model.leaves_for))

    def leave_memory(self, model: Model) -> None:
        model.leave_worker()
        moves.left(self, model, self.now)
        self.memory.release(model.name)
        self.enter(model, State.ON_DISK)
        self.settle(model)

    def drop(self, model: Model, reason: Reason, for_model: str | None) -> None:
        if model.ticket is not None:
            self.leave_line(model)
        if reason in _FOR_ROOM:
            self.disk_ranking.evict(model)
        self.enter(model, State.DROPPING)
        self.disk.depart(model.name)
        self.orders.append(events.Drop(model.name, reason, for_model))
