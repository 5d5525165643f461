"""Requests on their way to their models: each waits here until residency has decided it.

A request leaves residency exactly once, whatever happens: forwarded and answered, refused, or
abandoned by its client.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable

from modelplex.aws.errors import ServiceError
from modelplex.core import events
from modelplex.core.events import Fact
from modelplex.instance.answers import OUT_OF_MEMORY, Answers
from modelplex.instance.calls import AnyWorker, Call, Work
from modelplex.instance.processes.batches import Batches
from modelplex.instance.processes.residents import Residents
from modelplex.instance.tasks import Tasks
from modelplex.workers.errors import NotBegun, TimedOut, TookTooMuch, WorkerDied
from modelplex.workers.worker import Answer, Invocation, Worker

TRIES_MAX = 3  # of a request that worker after worker died without having seen

Told = Callable[[bytes], Awaitable[None]]


class Requests:
    """Those that are undecided, by the numbers that residency knows them by."""

    def __init__(
        self,
        *,
        notify: Callable[[Fact], None],
        residents: Residents,
        answers: Answers,
        batches: Batches | None,
        timeout_s: float,
        clock: Callable[[], float],
    ) -> None:
        """`timeout_s`: how long a handler may take. Without `batches` each request goes alone."""
        self._notify = notify
        self._residents = residents
        self._answers = answers
        self._batches = batches
        self._timeout_s = timeout_s
        self._clock = clock
        self._numbers = itertools.count(1)
        self._calls: dict[int, Call] = {}
        self._tasks = Tasks()

    def name(self, number: int) -> str:
        """The model that a request asks for."""
        return self._calls[number].model

    def forward(self, order: events.Forward, now: float, work: Work | None) -> None:
        """It has its worker. `work` is what the model went through."""
        worker = self._residents.forward(order.model)
        self._calls[order.request].forward(order.model, worker, now, work)

    def reject(self, order: events.Reject, now: float, work: Work | None) -> None:
        """It will not have one."""
        call = self._calls[order.request]
        call.retry_after_s = order.retry_after_s
        call.refuse(self._answers.refused(call.model, order.refusal, order.failure), now, work)

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
        """Raises ServiceError, NotBegun."""
        number = next(self._numbers)
        self._calls[number] = call
        try:
            self._notify(events.Invoked(number, call.model))
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
                self._notify(events.Abandoned(number))
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
            return await asyncio.shield(self._tasks.begin(serving))
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
            if self._batches is not None and isinstance(worker, Worker):
                answer = await self._batches.invoke(worker, invocation, self._timeout_s)
            else:
                answer = await worker.invoke(invocation, self._timeout_s)
            if answer.status == OUT_OF_MEMORY:
                await asyncio.shield(self._residents.expel(key, worker))
            return answer
        except WorkerDied as error:
            self._residents.lose(key, worker, str(error))
            raise
        finally:
            self._answered(number, worker)

    def _answered(self, number: int, worker: AnyWorker) -> None:
        self._residents.answered(worker)
        self._notify(events.Answered(number))

    def _unanswered(self, model: str, error: WorkerDied) -> ServiceError:
        if isinstance(error, TimedOut):
            return self._answers.timed_out(model)
        if isinstance(error, TookTooMuch):
            return self._answers.container_error(model, OUT_OF_MEMORY, str(error))
        return self._answers.died(model, str(error))
