"""Requests on their way to their models: each waits here until residency has decided it.

A request leaves residency exactly once, whatever happens: forwarded and answered, refused, or
abandoned by its client. One that is warm goes from its arrival to its worker in a single call, and
from the worker's answer to the client in another.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from functools import partial

from modelplex.aws.errors import ServiceError
from modelplex.core import events
from modelplex.core.events import Fact
from modelplex.instance.answers import OUT_OF_MEMORY, SERVER_ERROR, Answers
from modelplex.instance.calls import AnyWorker, Call, Work
from modelplex.instance.processes.batches import Batches, Place
from modelplex.instance.processes.residents import Residents
from modelplex.instance.tasks import Tasks
from modelplex.workers.errors import NotBegun, TimedOut, TookTooMuch, WorkerDied
from modelplex.workers.worker import Answer, Worker

log = logging.getLogger(__name__)

TRIES_MAX = 3  # of a request that worker after worker died without having seen


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
        self._batched: dict[int, tuple[Worker, Place]] = {}  # with their worker, or soon
        self._tasks = Tasks()

    def name(self, number: int) -> str:
        """The model that a request asks for."""
        return self._calls[number].model

    def invoke(self, call: Call) -> None:
        """Has a request answered; its `on_end` hears of it, at once or later.

        A request that its worker had not begun with when that died for another model's sake is
        tried again.
        """
        number = call.number = next(self._numbers)
        call.tries += 1
        self._calls[number] = call
        self._notify(events.Invoked(number, call.model))
        if number in self._calls:
            call.waited = True
            if call.asked is not None:
                call.asked.waits()

    def abandon(self, call: Call) -> bool:
        """The client has gone. A call that waits gives up its place, and `on_end` will not hear of
        it; False for one that a handler has: that finishes, or is killed for being late.
        """
        if self._calls.pop(call.number, None) is not None:
            self._notify(events.Abandoned(call.number))
            return True
        worker, place = self._batched.get(call.number, (None, None))
        if worker is None or place is None or self._batches is None:
            return False
        withdrawn = self._batches.withdraw(worker, place)
        if withdrawn:
            self._settle(call, worker)
        return withdrawn

    def forward(self, order: events.Forward, now: float, work: Work | None) -> None:
        """It has its worker. `work` is what the model went through."""
        call = self._calls.pop(order.request)
        worker = self._residents.forward(order.model)
        call.key = order.model
        call.decide(now, work)
        if call.waited and call.asked is not None:
            call.asked.begun()
        self._hand_over(call, worker)

    def reject(self, order: events.Reject, now: float, work: Work | None) -> None:
        """It will not have one."""
        call = self._calls.pop(order.request)
        call.retry_after_s = order.retry_after_s
        call.decide(now, work)
        call.on_end(call, self._answers.refused(call.model, order.refusal, order.failure))

    # -- with a worker ----------------------------------------------------------------------------

    def _hand_over(self, call: Call, worker: AnyWorker) -> None:
        began = self._clock()
        if not isinstance(worker, Worker):
            # A shared one is busy for as long as the handler takes: other models wait for it.
            self._tasks.begin(self._ask(call, worker, began))
        elif self._batches is not None:
            done = partial(self._answered, call, worker, began)
            place = self._batches.submit(worker, call.invocation, self._timeout_s, done)
            self._batched[call.number] = worker, place
        else:
            done_alone = partial(self._answered_alone, call, worker, began)
            worker.submit([call.invocation], self._timeout_s, done_alone)

    async def _ask(self, call: Call, worker: AnyWorker, began: float) -> None:
        outcome: Answer | WorkerDied
        try:
            outcome = await worker.invoke(call.invocation, self._timeout_s)
        except WorkerDied as error:
            outcome = error
        except Exception:  # residency and the client wait for an end, whatever it is
            log.exception("request.failed", extra={"model": call.model})
            outcome = Answer(SERVER_ERROR, "", [], b"the instance failed; its log has more")
        self._answered(call, worker, began, outcome)

    def _answered_alone(
        self, call: Call, worker: AnyWorker, began: float, outcome: list[Answer] | WorkerDied
    ) -> None:
        one = outcome if isinstance(outcome, WorkerDied) else outcome[0]
        self._answered(call, worker, began, one)

    def _answered(
        self, call: Call, worker: AnyWorker, began: float, outcome: Answer | WorkerDied
    ) -> None:
        """The worker's answer, or its death, and the facts that come with it."""
        now = self._clock()
        if isinstance(worker, Worker) and self._batches is None:  # it may have been sent ahead
            began, worker.free_at = max(began, worker.free_at), now
        call.handle_s = now - began
        if isinstance(outcome, WorkerDied):
            self._residents.lose(call.key, worker, str(outcome))
            self._settle(call, worker)
            self._unanswered(call, outcome)
        elif outcome.status == OUT_OF_MEMORY:
            self._tasks.begin(self._expel(call, worker, outcome))
        else:
            self._settle(call, worker)  # first: the worker has waited enough
            call.on_end(call, outcome)

    async def _expel(self, call: Call, worker: AnyWorker, answer: Answer) -> None:
        await self._residents.expel(call.key, worker)
        self._settle(call, worker)
        call.on_end(call, answer)

    def _settle(self, call: Call, worker: AnyWorker) -> None:
        self._batched.pop(call.number, None)
        self._residents.answered(worker)
        self._notify(events.Answered(call.number))

    def _unanswered(self, call: Call, error: WorkerDied) -> None:
        gone = call.asked is not None and call.asked.gone
        if isinstance(error, NotBegun) and call.tries < TRIES_MAX and not gone:
            call.waited = False
            self.invoke(call)
        else:
            call.on_end(call, self._explained(call.model, error))

    def _explained(self, model: str, error: WorkerDied) -> ServiceError:
        if isinstance(error, TimedOut):
            return self._answers.timed_out(model)
        if isinstance(error, TookTooMuch):
            return self._answers.container_error(model, OUT_OF_MEMORY, str(error))
        return self._answers.died(model, str(error))
