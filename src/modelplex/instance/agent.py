"""Carries out what `core/residency.py` decides: the hands to its head.

Every fact goes through `notify`; every order becomes a coroutine whose return value is the next
fact. A request waits here as a `Call` until it is forwarded to its worker or refused.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar, assert_never

from modelplex.archives.tree import Overran
from modelplex.aws.errors import InternalFailure, ServiceError
from modelplex.core import events
from modelplex.core.events import Action, Fact
from modelplex.core.residency import Residency
from modelplex.instance.answers import OUT_OF_MEMORY, Answers
from modelplex.instance.artifacts import Artifacts, Download, Stopped
from modelplex.instance.calls import Call, Work
from modelplex.instance.history import History
from modelplex.instance.residents import Residents
from modelplex.instance.store import FetchFailure
from modelplex.settings import Settings
from modelplex.workers.errors import TimedOut, WorkerDied
from modelplex.workers.pools import Pools
from modelplex.workers.worker import Answer, Invocation, Worker

log = logging.getLogger(__name__)

CHORE_THREADS = 1  # removing folders

T = TypeVar("T")
Told = Callable[[bytes], Awaitable[None]]


class Agent:
    """The models of one instance: fetched, loaded, invoked and unloaded as residency orders."""

    def __init__(
        self,
        *,
        residency: Residency,
        pool: Pools,
        artifacts: Artifacts,
        answers: Answers,
        history: History,
        limits: Settings,
        on_give_up: Callable[[str], None],
        on_defect: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_give_up` hears why a `Wanted` model cannot be had, `on_defect` why this object must
        not be trusted any more.
        """
        self.residency = residency
        self.residents = Residents(
            pool=pool,
            artifacts=artifacts,
            answers=answers,
            history=history,
            limits=limits,
            clock=clock,
            on_loss=self._lost,
        )
        self._artifacts = artifacts
        self._answers = answers
        self._history = history
        self._limits = limits
        self._on_give_up = on_give_up
        self._on_defect = on_defect
        self._clock = clock
        self._numbers = itertools.count(1)
        self._calls: dict[int, Call] = {}
        self._work: dict[str, Work] = {}
        self._downloads: dict[str, Download] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at: float | None = None
        self._fetchers = ThreadPoolExecutor(limits.fetches_max, "fetch")
        self._chores = ThreadPoolExecutor(CHORE_THREADS, "chore")

    @property
    def workers(self) -> dict[str, Worker]:
        """The worker of every loaded model. To be read only."""
        return self.residents.workers

    # -- facts and orders ---------------------------------------------------------------------

    def notify(self, fact: Fact) -> None:
        """A fact, and everything that follows from it at once."""
        try:
            now = self._clock()
            for action in self.residency.handle(fact, now):
                self._perform(action, now)
            self._set_alarm(now)
        except Exception as error:  # head and hands disagree: no later order would be right
            log.critical("agent.defect", exc_info=True, extra={"fact": repr(fact)})
            self._on_defect(repr(error))
            raise

    def _perform(self, action: Action, now: float) -> None:
        match action:
            case events.Forward(request, model):
                worker = self.residents.workers[model]
                self._calls[request].forward(worker, now, self._work.get(model))
            case events.Reject(request, refusal, failure):
                call = self._calls[request]
                error = self._answers.refused(call.model, refusal, failure)
                call.refuse(error, now, self._work.get(call.model))
            case events.Fetch(model, limit_bytes):
                self._begin(self._fetch(model, limit_bytes, Download()))
            case events.Load():
                self._begin(self.residents.load(action, self._work_of(action.model)))
            case events.Unload():
                self._begin(self._unload(action, self.residents.take(action.model)))
            case events.Drop():
                self._begin(self._drop(action))
            case events.Cancel(model):
                self._cancel(model)
            case events.GiveUp(model, refusal, failure):
                self._on_give_up(self._answers.refused(model, refusal, failure).message)
            case _:
                assert_never(action)

    def _begin(self, order: Coroutine[None, None, Fact]) -> None:
        task = asyncio.get_running_loop().create_task(self._report(order))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

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
        self.notify(fact)
        if isinstance(fact, events.Dropped | events.FetchFailed | events.FetchOverran):
            self._work.pop(fact.model, None)  # a fetch that begins now makes its own

    def _set_alarm(self, now: float) -> None:
        """Keep one timer, at residency's next deadline."""
        deadline = self.residency.next_deadline(now)
        if deadline == self._alarm_at:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm, self._alarm_at = None, deadline
        if deadline is not None:
            loop = asyncio.get_running_loop()
            self._alarm = loop.call_later(deadline - now, self._ring)

    def _ring(self) -> None:
        self._alarm = self._alarm_at = None
        self.notify(events.Tick())

    # -- requests -----------------------------------------------------------------------------

    async def invoke(self, call: Call, invocation: Invocation, tell: Told) -> Answer:
        """The model's answer to one request; `tell` hears "waiting" and "begun" unless it is warm.

        Raises ServiceError where the model did not answer. Whatever happens, the request leaves
        residency exactly once: forwarded and answered, refused, or abandoned.
        """
        number = next(self._numbers)
        self._calls[number] = call
        try:
            self.notify(events.Invoked(number, call.model))
            if call.worker is None:
                await self._wait(number, call, tell)
        finally:
            del self._calls[number]
        if call.worker is None:
            assert call.refusal is not None
            raise call.refusal
        return await self._handle(number, call, call.worker, invocation)

    async def _wait(self, number: int, call: Call, tell: Told) -> None:
        """Until the call is decided; a client that goes away gives up its place."""
        try:
            if call.refusal is None:
                call.decided = asyncio.get_running_loop().create_future()
                await tell(b"waiting")
                await call.decided
            if call.worker is not None:
                await tell(b"begun")
        except BaseException:
            if call.worker is not None:
                self.notify(events.Answered(number))
            elif call.refusal is None:
                self.notify(events.Abandoned(number))
            raise

    async def _handle(
        self, number: int, call: Call, worker: Worker, invocation: Invocation
    ) -> Answer:
        """A client that goes away changes nothing here: the worker finishes, or is killed for being
        late, and the next request waits for that; but nobody needs to wait before evicting it.
        """
        began = self._clock()
        self.residents.used(call.model)
        try:
            answer = await worker.invoke(invocation, self._limits.invocation_timeout_s)
            if answer.status == OUT_OF_MEMORY:  # it is replaced, not trusted to shrink
                await asyncio.shield(worker.kill("out of memory"))
            return answer
        except WorkerDied as error:
            self.residents.lose(call.model, worker, str(error))
            raise self._unanswered(call.model, error) from None
        finally:
            call.handle_s = self._clock() - began
            self.notify(events.Answered(number))

    def _unanswered(self, model: str, error: WorkerDied) -> ServiceError:
        if isinstance(error, TimedOut):
            return self._answers.timed_out(model)
        return self._answers.died(model, str(error))

    # -- orders -------------------------------------------------------------------------------

    async def _fetch(self, model: str, limit_bytes: int, download: Download) -> Fact:
        work = self._work_of(model)
        work.fetch_began = self._clock()
        self._downloads[model] = download
        fetch = partial(self._artifacts.fetch, model, limit_bytes, download)
        try:
            size = await self._in_thread(self._fetchers, fetch)
        except Overran as error:
            return events.FetchOverran(model, error.needed_bytes)
        except FetchFailure as error:
            return self._fetch_failed(model, error.error)
        except Stopped:
            return self._fetch_failed(model, InternalFailure("it took too long and was given up"))
        finally:
            work.fetch_ended = self._clock()
            del self._downloads[model]
        self._history.fetched(model, size, work.fetch_ended - work.fetch_began)
        return events.Fetched(model, size)

    def _fetch_failed(self, model: str, error: ServiceError) -> Fact:
        self._history.failed(model, "fetch", error.message)
        return events.FetchFailed(model, error)

    async def _unload(self, order: events.Unload, worker: Worker | None) -> Fact:
        freed = await worker.unload() if worker else 0
        memory = self.residency.memory
        after = memory.used_bytes - memory.of(order.model)
        self._history.unloaded(order, freed, memory.used_bytes, after)
        return events.Unloaded(order.model)

    async def _drop(self, order: events.Drop) -> Fact:
        try:
            await self._in_thread(self._chores, partial(self._artifacts.drop, order.model))
        except OSError as error:
            log.error("artifact.stuck", extra={"model": order.model, "problem": str(error)})
        self._history.dropped(order)
        return events.Dropped(order.model)

    def _cancel(self, model: str) -> None:
        """Hurry the open fetch or load; its own end is still reported."""
        if download := self._downloads.get(model):
            download.stop.set()
        self.residents.cancel(model)

    def _work_of(self, model: str) -> Work:
        return self._work.setdefault(model, Work())

    def _lost(self, model: str, error: ServiceError) -> None:
        self.notify(events.Crashed(model, error))

    async def sample(self) -> None:
        """Measure some workers, and hand in what they take now."""
        for name, size in (await self.residents.sample()).items():
            self.notify(events.Measured(name, size))

    async def _in_thread(self, threads: ThreadPoolExecutor, job: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(threads, job)

    def close(self) -> None:
        """Take no more part: the workers' ends are not crashes any more, and what runs in threads
        ends by itself, at the latest when its reads do.
        """
        self.residents.close()
        for download in self._downloads.values():
            download.stop.set()
        if self._alarm is not None:
            self._alarm.cancel()
        self._fetchers.shutdown(wait=False, cancel_futures=True)
        self._chores.shutdown(wait=False, cancel_futures=True)

