"""What is where on one instance, and the moves that are possible: each keeps all books at once.

Whether and when to move is decided elsewhere: by what happened (`residency`) and by who is next
(`advance`).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from heapq import heappop, heappush

from modelplex.core import events, moves, quarantine, succession
from modelplex.core.budget import Budget
from modelplex.core.estimates import bounded
from modelplex.core.events import Action, Reason, Refusal
from modelplex.core.footprint import Footprints
from modelplex.core.groups import ALONE, Groups
from modelplex.core.keys import name_of
from modelplex.core.limits import Limits
from modelplex.core.model import AT_REST, LEGAL, Model, State
from modelplex.core.policies import POLICIES
from modelplex.core.quarantine import PAUSE_MIN_S
from modelplex.core.queues import Line, Requests
from modelplex.core.ranking import Ranking
from modelplex.core.rules import Rule, rule_of
from modelplex.core.turns import Turns
from modelplex.core.usage import Usage
from modelplex.core.versions import Versions

PAUSE_MAX_S = 60.0  # without another try for a model that is too large
_FOR_ROOM = (Reason.MEMORY, Reason.DISK, Reason.OVER_BUDGET)


@dataclass(slots=True)
class MemoryWorth:
    """What a model takes in memory, and what another load of it would cost."""

    memory: Budget
    past: Usage

    def __call__(self, model: Model) -> tuple[int, float]:
        """Bytes and seconds."""
        held = self.memory.held.get(model.name) or model.known_memory_bytes
        return held, model.usage.load_s or self.past.load_s


@dataclass(slots=True)
class DiskWorth:
    """What dropping an artifact frees, and what having the model in memory again would cost."""

    disk: Budget
    past: Usage

    def __call__(self, model: Model) -> tuple[int, float]:
        """Bytes and seconds."""
        usage, past = model.usage, self.past
        seconds = (usage.fetch_s or past.fetch_s) + (usage.load_s or past.load_s)
        return self.disk.share_bytes(model.name), seconds


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
        self.memory_ranking = Ranking(
            POLICIES[limits.policy](), MemoryWorth(self.memory, self.past)
        )
        self.disk_ranking = Ranking(POLICIES[limits.policy](), DiskWorth(self.disk, self.past))
        self.rules: tuple[Rule, ...] = ()
        self.versions = Versions(limits.remembered_max)
        self.groups = Groups(limits) if limits.models_per_worker > 1 else None
        self.moves = moves.Moves()
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
        self.now = 0.0  # of the fact that is being handled
        self.retry_at: float | None = None  # when there may be victims for one who waits for room
        self._protected: list[tuple[float, str]] = []  # until when loaded models keep their places
        self.orders: list[Action] = []  # of the fact that is being handled

    def model(self, name: str) -> Model:
        model = self.models.get(name)
        if model is None:
            model = self.models[name] = self.absent[name] = Model(name)
            if self.rules:
                self._apply_rule(model)
        return model

    def configure(self, rules: tuple[Rule, ...]) -> None:
        """Apply what the owner wants from now on. Pinned models that are not there are called."""
        self.rules = rules
        for model in list(self.models.values()):
            self._apply_rule(model)
            if model.state is State.LOADED:
                self._protect(model.stays_until, model)
            elif model.pinned:
                self.promise(model)
            else:
                self.tidy(model)

    def _apply_rule(self, model: Model) -> None:
        model.rule = rule_of(self.rules, name_of(model.name))
        self.pin(model)

    def pin(self, model: Model) -> None:
        """Make a model one that never has to go, or one like all others."""
        serves = self.versions.serving(name_of(model.name)) == model.name
        model.pinned = model.wanted or (model.rule.pinned and serves)
        if model.pinned:
            self.pinned[model.name] = model
        else:
            self.pinned.pop(model.name, None)

    def promise(self, model: Model) -> None:
        """Let a model that is not loaded come without a request."""
        model.promised = True
        self.call_for(model)

    def move(self, model: Model, state: State) -> None:
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

    def takes(self, model: Model) -> bool:
        """Whether the worker of a loaded model can have another request now."""
        free = self.groups is None or self.groups.may(model.name)
        return free and len(model.in_flight) < self.limits.concurrency

    def answers_full(self) -> bool:
        """Whether the instance works on as many requests as it may."""
        return len(self.requests.forwarded) >= self.limits.answers_max

    def forward(self, request: int, model: Model, now: float) -> None:
        self.requests.forwarded[request] = model
        model.begin(request, now)
        model.hits += 1
        model.worked = True
        self.memory_ranking.touch(model)
        self.orders.append(events.Forward(request, model.name))
        if self.groups is not None:
            moves.began(self, model, request, now)

    def forward_queued(self, model: Model, now: float) -> None:
        """Forward what waits for a loaded model, as far as its worker takes it; beyond what the
        instance may work on at once, it waits for its turn.
        """
        if self.groups is not None and model.queue:
            moves.wait(self, model, now)
        while model.queue and self.takes(model):
            if self.turns.order or self.answers_full():
                self.turns.join(model)
                self.take_turns(now)
                return
            self.forward(self.requests.next(model), model, now)

    def take_turns(self, now: float) -> None:
        """Let those who wait for their turn have it, as far as the instance may work on more."""
        while self.turns.order and not self.answers_full():
            model = self.turns.take(self.past.handle_s)
            if self.takes(model):  # else it stands here again as soon as its worker does
                self.forward(self.requests.next(model), model, now)
                if model.queue and self.takes(model):
                    self.turns.join(model)

    def refuse(
        self, model: Model, refusal: Refusal, failure: object, retry_after_s: float = 0.0
    ) -> None:
        """Give up on a model: all who wait are told, and the next request tries anew."""
        if succession.refused(self, model, refusal, failure):
            model.end_journey()
            return
        self.reject_queue(model, refusal, failure, retry_after_s)
        if model.wanted and model.promised:
            self.orders.append(events.GiveUp(model.name, refusal, failure))
        model.end_journey()

    def reject_queue(
        self,
        model: Model,
        refusal: Refusal,
        failure: object,
        retry_after_s: float,
        spared: int = 0,
    ) -> None:
        """Refuse the requests that wait for a model, but for the first few. 0.0 seconds: it is not
        known when another try should succeed.
        """
        retry_after_s = retry_after_s and bounded(retry_after_s)
        for request in list(model.queue)[spared:]:
            self.requests.leave(request)
            self.orders.append(events.Reject(request, refusal, failure, retry_after_s))

    def fail(self, model: Model, failure: object, now: float, *, passing: bool) -> None:
        """Give up on a model that failed. Who was told to come back shall hear why."""
        if not passing:
            model.pause = quarantine.failed(model.pause, failure, False, now, self.limits)
        if model.promised and not model.pinned:
            until = now + PAUSE_MAX_S
            model.pause = quarantine.refused(model.pause, Refusal.FAILED, failure, until)
        self.refuse(model, Refusal.FAILED, failure)

    def refuse_for_a_while(self, model: Model, refusal: Refusal, sentence: str, now: float) -> None:
        """Refuse a model that is too large, and then at once for as long as was spent on it.

        Every try makes everybody else go. So half of the time is theirs, though no more than a
        minute between two tries.
        """
        pause_s = min(max(model.work_spent_s, PAUSE_MIN_S), PAUSE_MAX_S)
        model.pause = quarantine.refused(model.pause, refusal, sentence, now + pause_s)
        self.refuse(model, refusal, sentence, pause_s)

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
        self.move(model, state)
        model.work_since = now
        model.work_ends = now + self.limits.model_load_timeout_s - model.work_spent_s

    def keep_place(self, model: Model, now: float) -> None:
        """Let a model that has just been loaded keep its place, for as long as that took."""
        model.loaded_at = now
        model.turn_ends = now + min(now - model.work_since, self.limits.turn_max_s)
        self._protect(max(model.turn_ends, model.stays_until), model)

    def _protect(self, until: float, model: Model) -> None:
        heappush(self._protected, (until, model.name))

    def next_victim_at(self, now: float) -> float | None:
        """When the next loaded model may have to go that has kept its place until then."""
        while self._protected and self._protected[0][0] <= now:
            heappop(self._protected)
        return self._protected[0][0] if self._protected else None

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
            moves.left(self, model, self.now, loading=True)
            self.memory.release(model.name)
            self.move(model, State.ON_DISK)

    def rest_on_disk(self, model: Model, size: int, content: str) -> None:
        self.disk.reserve(model.name, size, content)
        self.footprints.fetched(size)
        model.content = content
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
        if reason in _FOR_ROOM:
            self.memory_ranking.evict(model)
        self.move(model, State.DRAINING)
        if self.groups is not None:
            self.groups.quit_line(model.name)
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
        model.leave_worker()
        moves.left(self, model, self.now)
        self.memory.release(model.name)
        self.move(model, State.ON_DISK)
        self.settle(model)

    def drop(self, model: Model, reason: Reason, for_model: str | None) -> None:
        if model.ticket is not None:
            self.leave_line(model)
        if reason in _FOR_ROOM:
            self.disk_ranking.evict(model)
        self.move(model, State.DROPPING)
        self.disk.depart(model.name)
        self.orders.append(events.Drop(model.name, reason, for_model))
