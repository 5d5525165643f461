"""The processes of the loaded models: started, measured and mourned.

The agent says what to load; here is how: from which pool, in which kind of process. What becomes of
an order is returned as the fact that residency is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from modelplex.core import events
from modelplex.core.events import Fact
from modelplex.core.keys import name_of
from modelplex.instance.answers import NO_ANSWER, SERVER_ERROR, Answers
from modelplex.instance.artifacts.fetcher import Fetcher
from modelplex.instance.calls import AnyWorker, Work
from modelplex.instance.containers.choice import Containers
from modelplex.instance.containers.tenant import Tenant
from modelplex.instance.logs.history import History
from modelplex.instance.processes.houses import Houses
from modelplex.instance.processes.rounds import Rounds
from modelplex.instance.processes.twins import Twins
from modelplex.instance.tasks import Tasks
from modelplex.settings import Settings
from modelplex.workers.errors import LoadFailed, OutOfMemory, WorkerDied
from modelplex.workers.meter import Meter
from modelplex.workers.model import ModelSpec
from modelplex.workers.pools import Pools
from modelplex.workers.shared import Resident
from modelplex.workers.worker import Worker

CHANGE_MIN = 0.02  # of what a model took; less is not worth a fact
OUT_OF_MEMORY = "out of memory"


class Residents:
    """Which worker holds which model."""

    def __init__(
        self,
        *,
        pool: Pools | Containers,
        fetcher: Fetcher,
        answers: Answers,
        history: History,
        limits: Settings,
        clock: Callable[[], float],
        notify: Callable[[Fact], None],
    ) -> None:
        """`notify` hears of models that were lost, which nobody has ordered."""
        self.workers: dict[str, AnyWorker] = {}
        self._fetcher = fetcher
        self._answers = answers
        self._history = history
        self._limits = limits
        self._clock = clock
        self._notify = notify
        self._pool = pool
        self._houses = Houses(pool.shared if isinstance(pool, Pools) else None)
        self._twins = self._make_twins(pool) if isinstance(pool, Pools) else None
        self._loads: dict[str, asyncio.Task[AnyWorker]] = {}
        self._owing: dict[AnyWorker, int] = {}  # answers, to requests forwarded
        self._retiring: dict[AnyWorker, str] = {}  # replaced, once they owe none: their model
        self._rounds = Rounds()
        self._sizes: dict[str, int] = {}  # as last reported
        self._meter = Meter()
        self._meters = ThreadPoolExecutor(1, "meter")
        self._tasks = Tasks()

    def _make_twins(self, pool: Pools) -> Twins:
        return Twins(pool, self._fetcher.original, self._swap)

    def number(self, model: str) -> int:
        """Of the worker that a model shares; 0 if it lives alone, or nowhere."""
        worker = self.workers.get(model)
        return self._houses.number(worker) if isinstance(worker, Resident) else 0

    def forward(self, model: str) -> AnyWorker:
        """The worker of a loaded model, which owes an answer from now on."""
        worker = self.workers[model]
        self._rounds.used(model)
        self._owing[worker] = self._owing.get(worker, 0) + 1
        return worker

    def answered(self, worker: AnyWorker) -> None:
        """It owes one answer less."""
        owing = self._owing[worker] - 1
        if owing:
            self._owing[worker] = owing
            return
        del self._owing[worker]
        if (model := self._retiring.pop(worker, None)) is not None:
            self._tasks.begin(self._retire(model, worker))

    def take(self, model: str) -> AnyWorker | None:
        """The worker of a model that is to be unloaded; it holds no model any more."""
        return self.workers.pop(model, None)

    # -- loading --------------------------------------------------------------------------------

    async def load(self, order: events.Load, work: Work) -> Fact:
        """Start a worker with the model, or load it into one that is there; `work` learns when."""
        model = order.model
        work.load_began = self._clock()
        task = self._loads[model] = asyncio.get_running_loop().create_task(self._start(order))
        try:
            worker = await task
        except LoadFailed as error:
            return self._refused(order, error)
        except WorkerDied as error:  # what it was to share with others
            return events.Crashed(model, self._answers.died(model, str(error)))
        except OSError as error:
            return self._failed(model, SERVER_ERROR, str(error))
        except asyncio.CancelledError:
            return self._failed(model, NO_ANSWER, "it took too long and was given up")
        finally:
            work.load_ended = self._clock()
            del self._loads[model]
        size = await self._adopt(model, worker)
        seconds, steps = work.load_ended - work.load_began, getattr(worker, "steps", {})
        self._history.loaded(model, size, seconds, worker.pid, steps)
        return events.Loaded(model, size)

    def cancel(self, model: str) -> None:
        """Give up the load under way, if there is one; its own end is still reported."""
        if load := self._loads.get(model):
            load.cancel()

    async def move(self, order: events.Move) -> Fact:
        """Load a model again, elsewhere; whoever asks from then on is answered from there."""
        model, old = order.model, self.workers.get(order.model)
        if old is None:
            return events.MoveFailed(model, "it has left")
        try:
            new = await self._start(order)
        except (LoadFailed, WorkerDied, OSError) as error:
            return events.MoveFailed(model, str(error))
        size = await self._measure(new)
        if not self._swap(old, new, model):
            self._tasks.begin(self._retire(model, new))
            return events.MoveFailed(model, "it has left meanwhile")
        self._history.moved(model, order.worker, new.pid)
        return events.Moved(model, size)

    async def _start(self, order: events.Load | events.Move) -> AnyWorker:
        """A worker with the model. Raises OutOfMemory, LoadFailed, OSError; WorkerDied when one
        that it was to share ended before it came to this model.
        """
        key, timeout_s = order.model, self._limits.model_load_timeout_s
        folder = self._fetcher.folder(key)
        spec = ModelSpec(name_of(key), folder, limit_bytes=order.limit_bytes)
        if isinstance(self._pool, Containers):
            return await self._pool.load(spec, timeout_s)
        if order.worker:
            return await self._houses.load(order.worker, key, spec, timeout_s)
        assert self._twins is not None
        return await self._twins.load(spec, self._fetcher.content(key), timeout_s)

    async def _adopt(self, model: str, worker: AnyWorker) -> int:
        """Let a worker answer for a model; what it takes."""
        size = await self._measure(worker)
        self._install(model, worker)
        return size

    def _install(self, model: str, worker: AnyWorker) -> None:
        self.workers[model] = worker
        self._rounds.used(model)
        self._sizes.pop(model, None)
        worker.exited.add_done_callback(partial(self._exited, model, worker))

    def _swap(self, old: AnyWorker, new: AnyWorker, model: str = "") -> bool:
        """Let `new` answer in the place of `old`, which ends when it owes no answer; False if `old`
        answers for nobody any more.
        """
        names = (name for name, worker in self.workers.items() if worker is old)
        model = model or next(names, "")
        if self.workers.get(model) is not old:
            return False
        self._install(model, new)
        if old in self._owing:
            self._retiring[old] = model
        else:
            self._tasks.begin(self._retire(model, old))
        return True

    async def _retire(self, model: str, worker: AnyWorker) -> None:
        await worker.unload()
        if isinstance(worker, Resident):
            self._houses.left(model, worker)

    def _refused(self, order: events.Load, error: LoadFailed) -> Fact:
        model = order.model
        if order.worker and self._houses.is_gone(order.worker):  # the load has killed them all
            self._history.failed(model, "load", error.message)
            explained = self._answers.container_error(model, error.status, error.message)
            return events.Crashed(model, explained)
        if isinstance(error, OutOfMemory):
            self._history.failed(model, "load", f"more than {order.limit_bytes} bytes of memory")
            return events.OutOfMemory(model)
        return self._failed(model, error.status, error.message)

    def _failed(self, model: str, status: int, message: str) -> Fact:
        self._history.failed(model, "load", message)
        return events.LoadFailed(model, self._answers.container_error(model, status, message))

    # -- ends -----------------------------------------------------------------------------------

    async def expel(self, model: str, worker: AnyWorker) -> None:
        """Part with a model that has run out of memory: it is not trusted to shrink. Its neighbours
        stay where they are, and it is loaded again for whoever asks for it.
        """
        if isinstance(worker, Worker):
            await worker.kill(OUT_OF_MEMORY)
        else:
            await worker.unload()
        lives = not isinstance(worker, Worker)
        self.lose(model, worker, OUT_OF_MEMORY, worker_lives=lives)

    def lose(self, model: str, worker: AnyWorker, how: str, *, worker_lives: bool = False) -> None:
        """A worker died by itself, or was killed for being late, or the model alone was taken out
        of it; noted once, before any answer.
        """
        if isinstance(worker, Resident):
            self._houses.left(model, worker)
        if self.workers.get(model) is worker:
            del self.workers[model]
            self._sizes.pop(model, None)
            self._history.crashed(model, how)
            failure = self._answers.died(model, how)
            blameless = isinstance(worker, Tenant) and worker.blameless
            self._notify(events.Crashed(model, failure, worker_lives, blameless))

    def close(self) -> None:
        """The workers' ends are not crashes any more."""
        self.workers.clear()
        if self._twins is not None:
            self._twins.close()
        self._houses.close()
        self._meters.shutdown(wait=False, cancel_futures=True)

    def _exited(self, model: str, worker: AnyWorker, exited: asyncio.Future[Any]) -> None:
        self.lose(model, worker, str(exited.result()))

    # -- measuring ------------------------------------------------------------------------------

    async def sample(self) -> dict[str, int]:
        """Measure some processes: those used since the last time, and the next ones in a round;
        what the models in them take, as far as it has changed.

        The others change too, without any doing of theirs: what many processes share is counted in
        parts, and the parts become smaller with every further process.
        """
        if isinstance(self._pool, Containers):
            await self._pool.measure()
            return self._parts()
        pairs = self._rounds.due(self.workers)
        measured = await self._measured([worker for _, worker in pairs])
        sizes: dict[str, int] = {}
        for (name, worker), size in zip(pairs, measured, strict=True):
            if size and self.workers.get(name) is worker:
                sizes |= self._shares(name, worker, size)
        return sizes

    def _parts(self) -> dict[str, int]:
        """What models take of a container, as far as it has changed: that is cheap to ask all."""
        sizes = {name: worker.memory_bytes() for name, worker in self.workers.items()}
        changed = {
            name: size
            for name, size in sizes.items()
            if size and abs(size - self._sizes.get(name, 0)) > CHANGE_MIN * size
        }
        self._sizes |= changed
        return changed

    def _shares(self, name: str, worker: AnyWorker, size: int) -> dict[str, int]:
        """All models of the same process, if what they take has changed."""
        total = size + self._share_bytes(worker)
        if abs(total - self._sizes.get(name, 0)) <= CHANGE_MIN * total:
            return {}
        number = self.number(name)
        names = [key for key in self._houses.models(number) if key in self.workers] or [name]
        self._sizes |= dict.fromkeys(names, total)
        return dict.fromkeys(names, total)

    async def _measure(self, worker: AnyWorker) -> int:
        """What a model takes, with its part of what its process shares."""
        (size,) = await self._measured([worker])
        return size + self._share_bytes(worker)

    def _share_bytes(self, worker: AnyWorker) -> int:
        """What it takes beside its own, of what is shared."""
        if self._twins is None or not isinstance(worker, Worker):
            return 0
        return self._twins.share_bytes(worker)

    async def _measured(self, workers: list[AnyWorker]) -> list[int]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._meters, self._memory_of, workers)

    def _memory_of(self, workers: list[AnyWorker]) -> list[int]:
        """What each worker takes now; 0 for one that is gone."""
        meter = self._meter.memory_bytes
        return [meter(w) if isinstance(w, Worker) else w.memory_bytes() for w in workers]
