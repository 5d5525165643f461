"""Carries out what `core/residency.py` decides: the hands to its head.

Every fact goes through `notify`; every order becomes a coroutine whose return value is the next
fact. A request waits here as a `Call` until it is forwarded to its worker or refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar, assert_never

from modelplex.archives.tree import Overran
from modelplex.aws.errors import InternalFailure, ServiceError
from modelplex.core import events
from modelplex.core.events import Action, Fact
from modelplex.core.keys import name_of
from modelplex.core.residency import Residency
from modelplex.instance import receipts
from modelplex.instance.answers import OUT_OF_MEMORY, Answers
from modelplex.instance.artifacts import Artifacts, Download, Stopped
from modelplex.instance.calls import AnyWorker, Call, Work
from modelplex.instance.history import History
from modelplex.instance.recorder import Recorder
from modelplex.instance.residents import Residents
from modelplex.instance.store import FetchFailure
from modelplex.settings import Settings
from modelplex.workers.errors import NotBegun, TimedOut, TookTooMuch, WorkerDied
from modelplex.workers.pools import Pools
from modelplex.workers.worker import Answer, Invocation, Worker

log = logging.getLogger(__name__)

CHORE_THREADS = 1  # removing folders
TRIES_MAX = 3  # of a request that worker after worker died without having seen

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
        recorder: Recorder,
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
        self.artifacts = artifacts
        self._answers = answers
        self._history = history
        self._recorder = recorder
        self._limits = limits
        self._on_give_up = on_give_up
        self._on_defect = on_defect
        self._clock = clock
        self._numbers = itertools.count(1)
        self._calls: dict[int, Call] = {}
        self._work: dict[str, Work] = {}
        self._downloads: dict[str, Download] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at: float | None = None
        self._fetchers = ThreadPoolExecutor(limits.fetches_max, "fetch")
        self._chores = ThreadPoolExecutor(CHORE_THREADS, "chore")

    @property
    def workers(self) -> dict[str, AnyWorker]:
        """The worker of every loaded model. To be read only."""
        return self.residents.workers

    # -- facts and orders ---------------------------------------------------------------------

    def notify(self, fact: Fact) -> None:
        """A fact, and everything that follows from it at once."""
        now = self._clock()
        try:
            for action in self._decide(fact, now):
                self._perform(action, now)
            self._set_alarm(now)
        except Exception as error:  # head and hands disagree: no later order would be right
            log.critical("agent.defect", exc_info=True, extra={"fact": repr(fact)})
            self._on_defect(repr(error))
            raise

    def _decide(self, fact: Fact, now: float) -> list[Action]:
        """What residency orders, and a line of the log, also where it contradicts itself."""
        orders: list[Action] = []
        self._recorder.before(self.residency)
        try:
            orders = self.residency.handle(fact, now)
        finally:
            self._recorder.record(now, fact, orders)
        return orders

    def _perform(self, action: Action, now: float) -> None:
        match action:
            case events.Forward(request, model):
                worker = self.residents.forward(model)
                self._calls[request].forward(model, worker, now, self._work.get(model))
            case events.Reject(request, refusal, failure, retry_after_s):
                call = self._calls[request]
                call.retry_after_s = retry_after_s
                error = self._answers.refused(call.model, refusal, failure)
                key = self.residency.here.versions.serving(call.model)
                call.refuse(error, now, self._work.get(key))
            case events.Fetch(model, limit_bytes):
                self._begin(self._fetch(model, limit_bytes, Download()))
            case events.Load():
                self._begin(self.residents.load(action, self._work_of(action.model)))
            case events.Move():
                self._begin(self.residents.move(action))
            case events.Unload():
                self._begin(self._unload(action, self.residents.take(action.model)))
            case events.Drop():
                self._begin(self._drop(action))
            case events.Cancel(model):
                self._cancel(model)
            case events.Switch(name, model):
                self.artifacts.serves(model)
                self._history.switched(name, self.residency.here.versions.version(model))
            case events.Discard(model, failure):
                self._history.discarded(model, failure)
            case events.GiveUp(model, refusal, failure):
                self._on_give_up(self._answers.refused(name_of(model), refusal, failure).message)
            case _:
                assert_never(action)

    def _begin(self, order: Coroutine[None, None, Fact]) -> None:
        self._keep(self._report(order))

    def _keep(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

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

        Raises ServiceError where the model did not answer. A request that its worker had not begun
        with when that died for another model's sake is tried again.
        """
        for _ in range(TRIES_MAX - 1):
            with contextlib.suppress(NotBegun):
                return await self._try(call, invocation, tell)
            call.again()
        try:
            return await self._try(call, invocation, tell)
        except NotBegun as error:
            raise self._unanswered(call.model, error) from None

    async def _try(self, call: Call, invocation: Invocation, tell: Told) -> Answer:
        """Whatever happens, the request leaves residency exactly once: forwarded and answered,
        refused, or abandoned. Raises ServiceError, NotBegun.
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
                self._answered(number, call.worker)
            elif call.refusal is None:
                self.notify(events.Abandoned(number))
            raise

    async def _handle(
        self, number: int, call: Call, worker: AnyWorker, invocation: Invocation
    ) -> Answer:
        """A client that goes away changes nothing here: the worker finishes, or is killed for being
        late, and the next request waits for that; but nobody needs to wait before evicting it.
        """
        began = self._clock()
        serving = self._serve(number, call.key, worker, invocation)
        try:
            if isinstance(worker, Worker):
                return await serving
            # A shared one is busy for as long as the handler takes: other models wait for it.
            return await asyncio.shield(self._keep(serving))
        except NotBegun:
            raise
        except WorkerDied as error:
            raise self._unanswered(call.model, error) from None
        finally:
            call.handle_s = self._clock() - began

    async def _serve(
        self, number: int, key: str, worker: AnyWorker, invocation: Invocation
    ) -> Answer:
        """The worker's answer, and the facts that come with it. Raises WorkerDied."""
        try:
            answer = await worker.invoke(invocation, self._limits.invocation_timeout_s)
            if answer.status == OUT_OF_MEMORY and isinstance(worker, Worker):
                await asyncio.shield(worker.kill("out of memory"))  # it is not trusted to shrink
            return answer
        except WorkerDied as error:
            self.residents.lose(key, worker, str(error))
            raise
        finally:
            self._answered(number, worker)

    def _answered(self, number: int, worker: AnyWorker) -> None:
        self.residents.answered(worker)
        self.notify(events.Answered(number))

    def _unanswered(self, model: str, error: WorkerDied) -> ServiceError:
        if isinstance(error, TimedOut):
            return self._answers.timed_out(model)
        if isinstance(error, TookTooMuch):
            return self._answers.container_error(model, OUT_OF_MEMORY, str(error))
        return self._answers.died(model, str(error))

    # -- orders -------------------------------------------------------------------------------

    async def _fetch(self, model: str, limit_bytes: int, download: Download) -> Fact:
        work = self._work_of(model)
        work.fetch_began = self._clock()
        self._downloads[model] = download
        fetch = partial(self.artifacts.fetch, model, limit_bytes, download)
        try:
            found = await self._in_thread(self._fetchers, fetch)
        except Overran as error:
            return events.FetchOverran(model, error.needed_bytes)
        except FetchFailure as error:
            return self._fetch_failed(model, error)
        except Stopped:
            given_up = FetchFailure(InternalFailure("it took too long and was given up"))
            return self._fetch_failed(model, given_up)
        finally:
            work.fetch_ended = self._clock()
            del self._downloads[model]
        seconds = work.fetch_ended - work.fetch_began
        self._history.fetched(model, found.disk_bytes, seconds)
        return events.Fetched(
            model, found.disk_bytes, found.content, found.version, self.residents.alone(model)
        )

    def _fetch_failed(self, model: str, failure: FetchFailure) -> Fact:
        self._history.failed(model, "fetch", failure.error.message)
        return events.FetchFailed(model, failure.error, failure.passing)

    async def _unload(self, order: events.Unload, worker: AnyWorker | None) -> Fact:
        receipt = await receipts.unload(worker)
        memory = self.residency.memory
        after = memory.used_bytes - memory.of(order.model)
        self._history.unloaded(order, receipt, memory.used_bytes, after)
        return events.Unloaded(order.model)

    async def _drop(self, order: events.Drop) -> Fact:
        try:
            await self._in_thread(self._chores, partial(self.artifacts.drop, order.model))
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
        self._recorder.close()
        for download in self._downloads.values():
            download.stop.set()
        if self._alarm is not None:
            self._alarm.cancel()
        self._fetchers.shutdown(wait=False, cancel_futures=True)
        self._chores.shutdown(wait=False, cancel_futures=True)
