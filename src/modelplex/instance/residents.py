"""The processes of the loaded models: started, measured and mourned.

The agent says what to load; here is how: from which pool, in which kind of process. What becomes of
an order is returned as the fact that residency is told.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from modelplex.aws.errors import ServiceError
from modelplex.core import events
from modelplex.core.events import Fact
from modelplex.instance.answers import NO_ANSWER, SERVER_ERROR, Answers
from modelplex.instance.artifacts import Artifacts
from modelplex.instance.calls import Work
from modelplex.instance.history import History
from modelplex.settings import Settings
from modelplex.workers.errors import LoadFailed, OutOfMemory
from modelplex.workers.model import ModelSpec
from modelplex.workers.pools import Pools
from modelplex.workers.process import ExitStatus
from modelplex.workers.worker import Worker

SAMPLED_MAX = 32  # workers measured at a time, of the used and of the others


class Residents:
    """Which worker holds which model."""

    def __init__(
        self,
        *,
        pool: Pools,
        artifacts: Artifacts,
        answers: Answers,
        history: History,
        limits: Settings,
        clock: Callable[[], float],
        on_loss: Callable[[str, ServiceError], None],
    ) -> None:
        """`on_loss` hears of a model whose worker died by itself, and what its clients are told."""
        self.workers: dict[str, Worker] = {}
        self._pool = pool
        self._artifacts = artifacts
        self._answers = answers
        self._history = history
        self._limits = limits
        self._clock = clock
        self._on_loss = on_loss
        self._loads: dict[str, asyncio.Task[Worker]] = {}
        self._used: dict[str, None] = {}  # since they were last measured
        self._sampled_to = 0  # where in `workers` the round of measuring is
        self._meters = ThreadPoolExecutor(1, "meter")

    def used(self, model: str) -> None:
        """Note that a model got a request, so that it is measured soon."""
        self._used[model] = None

    def take(self, model: str) -> Worker | None:
        """The worker of a model that is to be unloaded; it holds no model any more."""
        return self.workers.pop(model, None)

    async def load(self, order: events.Load, work: Work) -> Fact:
        """Start a worker with the model; `work` learns when."""
        model = order.model
        work.load_began = self._clock()
        spec = ModelSpec(model, self._artifacts.folder(model), limit_bytes=order.limit_bytes)
        load = self._pool.load(spec, self._limits.model_load_timeout_s)
        task = self._loads[model] = asyncio.get_running_loop().create_task(load)
        try:
            worker = await task
        except OutOfMemory:
            self._history.failed(model, "load", f"more than {order.limit_bytes} bytes of memory")
            return events.OutOfMemory(model)
        except LoadFailed as error:
            return self._failed(model, error.status, error.message)
        except OSError as error:
            return self._failed(model, SERVER_ERROR, str(error))
        except asyncio.CancelledError:
            return self._failed(model, NO_ANSWER, "it took too long and was given up")
        finally:
            work.load_ended = self._clock()
            del self._loads[model]
        return await self._adopt(model, worker, work.load_ended - work.load_began)

    def cancel(self, model: str) -> None:
        """Give up the load under way, if there is one; its own end is still reported."""
        if load := self._loads.get(model):
            load.cancel()

    def lose(self, model: str, worker: Worker, how: str) -> None:
        """A worker died by itself, or was killed for being late; noted once, before any answer."""
        if self.workers.get(model) is worker:
            del self.workers[model]
            self._history.crashed(model, how)
            self._on_loss(model, self._answers.died(model, how))

    async def sample(self) -> dict[str, int]:
        """Measure some workers: those used since the last time, and the next ones in a round.

        The others change too, without any doing of theirs: what many processes share is counted in
        parts, and the parts become smaller with every further process.
        """
        pairs = [(name, self.workers[name]) for name in self._due() if name in self.workers]
        sizes = await self._measured(pairs)
        return {
            name: sizes[name]
            for name, worker in pairs
            if sizes[name] and self.workers.get(name) is worker
        }

    def close(self) -> None:
        """The workers' ends are not crashes any more."""
        self.workers.clear()
        self._meters.shutdown(wait=False, cancel_futures=True)

    async def _adopt(self, model: str, worker: Worker, seconds: float) -> Fact:
        size = (await self._measured([(model, worker)]))[model]
        self.workers[model] = worker
        worker.exited.add_done_callback(partial(self._exited, model, worker))
        self._history.loaded(model, size, seconds, worker.pid)
        return events.Loaded(model, size)

    def _failed(self, model: str, status: int, message: str) -> Fact:
        self._history.failed(model, "load", message)
        return events.LoadFailed(model, self._answers.container_error(model, status, message))

    def _exited(self, model: str, worker: Worker, exited: asyncio.Future[ExitStatus]) -> None:
        self.lose(model, worker, str(exited.result()))

    def _due(self) -> set[str]:
        used = list(itertools.islice(self._used, SAMPLED_MAX))
        for name in used:
            del self._used[name]
        names = list(self.workers)
        begin = self._sampled_to if self._sampled_to < len(names) else 0
        self._sampled_to = begin + SAMPLED_MAX
        return {*used, *names[begin : self._sampled_to]}

    async def _measured(self, pairs: list[tuple[str, Worker]]) -> dict[str, int]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._meters, _measure, pairs)


def _measure(pairs: list[tuple[str, Worker]]) -> dict[str, int]:
    """What each worker takes now; 0 for one that is gone."""
    return {name: worker.memory_bytes() for name, worker in pairs}
