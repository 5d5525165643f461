"""What is where on one instance, and the moves that are possible: each keeps all books at once.

Whether and when to move is decided elsewhere: by what happened (`residency`) and by who is next
(`advance`).
"""

from __future__ import annotations

from collections import OrderedDict

from modelplex.core import events
from modelplex.core.budget import Budget
from modelplex.core.events import Action, Reason, Refusal
from modelplex.core.footprint import Footprints
from modelplex.core.limits import Limits
from modelplex.core.model import AT_REST, LEGAL, Model, State
from modelplex.core.queues import Line, Requests

PAUSE_MIN_S, PAUSE_MAX_S = 1.0, 60.0  # without another try for a model that is too large


class Holdings:
    """Models, their requests, and the bytes they hold. Orders gather in `orders`."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.memory = Budget(limits.memory_bytes)
        self.disk = Budget(limits.disk_bytes)
        self.footprints = Footprints()
        self.requests = Requests(limits.model_ready_timeout_s)
        self.models: dict[str, Model] = {}
        self.pinned: dict[str, Model] = {}
        self.places = {state: OrderedDict[str, Model]() for state in State}  # in order of last use
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
        self.retry_at: float | None = None  # when the turn of a busy model ends that has to go
        self.orders: list[Action] = []  # of the fact that is being handled

    def model(self, name: str) -> Model:
        model = self.models.get(name)
        if model is None:
            model = self.models[name] = self.absent[name] = Model(name)
        return model

    def move(self, model: Model, state: State) -> None:
        assert state in LEGAL[model.state], f"{model.name}: {model.state} -> {state}"
        del self.places[model.state][model.name]
        self.places[state][model.name] = model
        model.state = state

    def _forget(self, model: Model) -> None:
        del self.absent[model.name], self.models[model.name]

    def forward(self, request: int, model: Model, now: float) -> None:
        self.requests.forwarded[request] = model
        model.in_flight.add(request)
        model.hits += 1
        model.last_used_at = now
        self.loaded.move_to_end(model.name)
        self.orders.append(events.Forward(request, model.name))

    def forward_queued(self, model: Model, now: float) -> None:
        while model.queue and len(model.in_flight) < self.limits.concurrency:
            self.forward(self.requests.next(model), model, now)

    def refuse(self, model: Model, refusal: Refusal, failure: object) -> None:
        """Give up on a model: all who wait are told, and the next request tries anew."""
        for request in list(model.queue):
            self.requests.leave(request)
            self.orders.append(events.Reject(request, refusal, failure))
        if model.pinned and model.promised:
            self.orders.append(events.GiveUp(model.name, refusal, failure))
        model.end_journey()

    def fail(self, model: Model, failure: object, now: float) -> None:
        """Give up on a model that failed. Who was told to come back shall hear why."""
        if model.promised and not model.pinned:
            model.refused_until = now + PAUSE_MAX_S
            model.refused_with = (Refusal.FAILED, failure)
        self.refuse(model, Refusal.FAILED, failure)

    def refuse_for_a_while(self, model: Model, refusal: Refusal, sentence: str, now: float) -> None:
        """Refuse a model that is too large, and then at once for as long as was spent on it.

        Every try makes everybody else go. So half of the time is theirs, though no more than a
        minute between two tries.
        """
        pause_s = min(max(model.work_spent_s, PAUSE_MIN_S), PAUSE_MAX_S)
        model.refused_until, model.refused_with = now + pause_s, (refusal, sentence)
        self.refuse(model, refusal, sentence)

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
        if model.state is State.ON_DISK and not self.limits.cache_enabled:
            self.drop(model, Reason.UNCACHED, None)
        elif model.state is State.ABSENT and model.forgettable:
            self._forget(model)
        elif model.state is State.ABSENT:
            self.absent.move_to_end(model.name)
            self._bound_memories()

    def _bound_memories(self) -> None:
        """Forget the one that was used least recently if too many are remembered."""
        if len(self.absent) - len(self.fetch_line) > self.limits.remembered_max:
            remembered = (m for m in self.absent.values() if m.ticket is None and not m.pinned)
            if oldest := next(remembered, None):
                self._forget(oldest)

    def fetch(self, model: Model, limit: int, now: float) -> None:
        self.disk.reserve(model.name, limit)
        self._start_work(model, State.FETCHING, now)
        self.orders.append(events.Fetch(model.name, limit))

    def load(self, model: Model, limit: int, now: float) -> None:
        self.memory.reserve(model.name, limit)
        self._start_work(model, State.LOADING, now)
        self.orders.append(events.Load(model.name, limit))

    def _start_work(self, model: Model, state: State, now: float) -> None:
        self.leave_line(model)
        self.move(model, state)
        model.work_since = now
        model.work_ends = now + self.limits.model_load_timeout_s - model.work_spent_s

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
            self.move(model, State.ABSENT)
        else:
            self.memory.release(model.name)
            self.move(model, State.ON_DISK)

    def rest_on_disk(self, model: Model, size: int) -> None:
        self.disk.reserve(model.name, size)
        self.footprints.fetched(size)
        model.known_disk_bytes = size
        self.move(model, State.ON_DISK)
        self.settle(model)

    def refuse_too_large(self, model: Model, now: float) -> None:
        needed, model.least_disk_bytes = model.least_disk_bytes, 0
        room_bytes = self.disk.capacity_bytes
        sentence = f"its files need at least {needed} bytes, and the disk has {room_bytes}"
        self.refuse_for_a_while(model, Refusal.FAILED, sentence, now)

    def drain(self, model: Model, reason: Reason, for_model: str | None, now: float) -> None:
        """Admit no more to a loaded model; it is unloaded when it has answered what it has."""
        self.move(model, State.DRAINING)
        self.memory.depart(model.name)
        self.requests.await_reload(model, now)
        if model.called_for:
            self._give_ticket(model)
        model.leaves_for = (reason, for_model)
        self.unload_if_drained(model)

    def unload_if_drained(self, model: Model) -> None:
        if not model.in_flight:
            self.move(model, State.UNLOADING)
            self.orders.append(events.Unload(model.name, *model.leaves_for))

    def leave_memory(self, model: Model) -> None:
        self.memory.release(model.name)
        self.move(model, State.ON_DISK)
        self.settle(model)

    def drop(self, model: Model, reason: Reason, for_model: str | None) -> None:
        if model.ticket is not None:
            self.leave_line(model)
        self.move(model, State.DROPPING)
        self.disk.depart(model.name)
        self.orders.append(events.Drop(model.name, reason, for_model))
