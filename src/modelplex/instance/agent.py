"""Carries out what `core/residency.py` decides: the hands to its head.

Every fact goes through `notify`; every order becomes a coroutine whose return value is the next
fact. What is done to requests, to artifacts and to processes stands in files of their own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import assert_never

from modelplex.core import events
from modelplex.core.events import Action, Fact, OtherAction
from modelplex.core.keys import name_of
from modelplex.core.residency import Residency
from modelplex.instance.answers import Answers
from modelplex.instance.artifacts.fetcher import Fetcher
from modelplex.instance.artifacts.fetches import Fetches
from modelplex.instance.artifacts.places import Found
from modelplex.instance.calls import AnyWorker, Work
from modelplex.instance.containers.choice import Containers
from modelplex.instance.logs.history import History
from modelplex.instance.logs.recorder import Recorder
from modelplex.instance.processes import receipts
from modelplex.instance.processes.batches import Batches
from modelplex.instance.processes.residents import Residents
from modelplex.instance.requests import Requests
from modelplex.instance.tasks import Tasks
from modelplex.settings import Settings
from modelplex.workers.pools import Pools

log = logging.getLogger(__name__)


class Agent:
    """The models of one instance: fetched, loaded, invoked and unloaded as residency orders."""

    def __init__(
        self,
        *,
        residency: Residency,
        pool: Pools | Containers,
        fetcher: Fetcher,
        answers: Answers,
        history: History,
        recorder: Recorder,
        limits: Settings,
        batch_max: int,
        on_give_up: Callable[[str], None],
        on_full: Callable[[str], None],
        on_defect: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`batch_max`: requests that a handler answers at once. `on_give_up` hears why a `Wanted`
        model cannot be had, `on_full` of each model that lacked memory, before residency does,
        `on_defect` why this object must not be trusted any more.
        """
        self.residency = residency
        self.residents = Residents(
            pool=pool,
            fetcher=fetcher,
            answers=answers,
            history=history,
            limits=limits,
            clock=clock,
            notify=self.notify,
        )
        self.requests = Requests(
            notify=self.notify,
            residents=self.residents,
            answers=answers,
            batches=Batches(batch_max, limits.body_bytes_max) if batch_max > 1 else None,
            timeout_s=limits.invocation_timeout_s,
            clock=clock,
        )
        self._fetcher = fetcher
        self._fetches = Fetches(fetcher, history, clock)
        self._answers = answers
        self._history = history
        self._recorder = recorder
        self._on_give_up = on_give_up
        self._on_full = on_full
        self._on_defect = on_defect
        self._clock = clock
        self._work: dict[str, Work] = {}
        self._tasks = Tasks()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at: float | None = None

    @property
    def workers(self) -> dict[str, AnyWorker]:
        """The worker of every loaded model. To be read only."""
        return self.residents.workers

    def recover(self, found: Mapping[str, Found]) -> None:
        """Take over what an earlier life has left on the disk."""
        for fact in self._fetches.recovered(found):
            self.notify(fact)

    def notify(self, fact: Fact) -> None:
        """A fact, and everything that follows from it at once."""
        now = self._clock()
        try:
            for action in self._decide(fact, now):
                if isinstance(action, events.Forward):  # nearly all that there is
                    self.requests.forward(action, now, self._work.get(action.model))
                else:
                    self._perform(action, now)
            self._set_alarm(now)
        except Exception as error:  # head and hands disagree: no later order would be right
            log.critical("agent.defect", exc_info=True, extra={"fact": repr(fact)})
            self._on_defect(repr(error))
            raise

    async def sample(self) -> None:
        """Measure some workers, and hand in what they take now."""
        for name, size in (await self.residents.sample()).items():
            self.notify(events.Measured(name, size))

    def close(self) -> None:
        """Take no more part: the workers' ends are not crashes any more."""
        self.residents.close()
        self._recorder.close()
        self._fetches.close()
        if self._alarm is not None:
            self._alarm.cancel()

    # -- orders -------------------------------------------------------------------------------

    def _decide(self, fact: Fact, now: float) -> list[Action]:
        """What residency orders, and a line of the log, also where it contradicts itself."""
        orders: list[Action] = []
        self._recorder.before(self.residency)
        try:
            orders = self.residency.handle(fact, now)
        finally:
            self._recorder.record(now, fact, orders)
        return orders

    def _perform(self, action: OtherAction, now: float) -> None:
        match action:
            case events.Reject():
                self._reject(action, now)
            case events.Fetch(model):
                self._begin(self._fetches.fetch(action, self._work_of(model)))
            case events.Load(model):
                self._begin(self.residents.load(action, self._work_of(model)))
            case events.Move():
                self._begin(self.residents.move(action))
            case events.Unload(model):
                self._begin(self._unload(action, self.residents.take(model)))
            case events.Drop():
                self._begin(self._fetches.drop(action))
            case events.Cancel(model):
                self._fetches.cancel(model)
                self.residents.cancel(model)
            case events.Switch(name, model):
                self._fetcher.serves(model)
                self._history.switched(name, self.residency.here.versions.version(model))
            case events.Discard(model, failure):
                self._history.discarded(model, failure)
            case events.GiveUp(model, refusal, failure):
                self._on_give_up(self._answers.refused(name_of(model), refusal, failure).message)
            case _:
                assert_never(action)

    def _begin(self, order: Coroutine[None, None, Fact]) -> None:
        self._tasks.begin(self._report(order))

    async def _report(self, order: Coroutine[None, None, Fact]) -> None:
        """Carry out an order and hand in its fact. It foresees what can happen to it: an exception
        from it is a defect of ours, and its fact would be missing for ever.
        """
        try:
            fact = await order
        except Exception as error:
            log.critical("agent.defect", exc_info=True)
            self._on_defect(repr(error))
            return
        if isinstance(fact, events.OutOfMemory):
            self._on_full(fact.model)
        self.notify(fact)
        if isinstance(fact, events.Dropped | events.FetchFailed | events.FetchOverran):
            self._work.pop(fact.model, None)  # a fetch that begins now makes its own

    def _reject(self, order: events.Reject, now: float) -> None:
        name = self.requests.name(order.request)
        self.requests.reject(order, now, self._work.get(self.residency.here.versions.serving(name)))

    async def _unload(self, order: events.Unload, worker: AnyWorker | None) -> Fact:
        receipt = await receipts.unload(worker)
        memory = self.residency.memory
        after = memory.used_bytes - memory.of(order.model)
        self._history.unloaded(order, receipt, memory.used_bytes, after)
        return events.Unloaded(order.model)

    def _work_of(self, model: str) -> Work:
        return self._work.setdefault(model, Work())

    # -- time ---------------------------------------------------------------------------------

    def _set_alarm(self, now: float) -> None:
        """Keep one timer, at residency's next deadline. With none, one that is set may ring: that
        costs less than to set it again and again.
        """
        deadline = self.residency.next_deadline(now)
        if deadline is None or deadline == self._alarm_at:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = deadline
        self._alarm = asyncio.get_running_loop().call_later(deadline - now, self._ring)

    def _ring(self) -> None:
        self._alarm = self._alarm_at = None
        self.notify(events.Tick())
