"""A worker that holds many models, seen from the host, and one of its models.

It does one thing at a time: it loads, answers or unloads, for the models in the order in which they
ask. Its end is the end of all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from functools import partial

from modelplex.runtime import frames, imports
from modelplex.workers import invocations
from modelplex.workers.errors import (
    LoadFailed,
    NotBegun,
    OutOfMemory,
    TimedOut,
    WorkerDied,
    WorkersError,
)
from modelplex.workers.image import ImageSpec
from modelplex.workers.invocations import Answer, Invocation
from modelplex.workers.limits import PoolLimits
from modelplex.workers.loaded import lacked_memory, load_error, load_order
from modelplex.workers.model import ModelSpec
from modelplex.workers.process import ExitStatus
from modelplex.workers.worker import Worker

MODELS_MAX = 0xFFFF  # in one process; more: ValueError
_MEASURED_S = 1.0  # how long the process's memory, once measured, is good for its models
_MEASURED_PART = 8  # and until one in so many models has come or gone


class SharedWorker:
    """A process for many models. Made by `Pool.shared`."""

    def __init__(
        self,
        worker: Worker,
        image: ImageSpec,
        limits: PoolLimits,
        on_output: Callable[[str, str], None],
        on_imports: Callable[[list[str]], None],
    ) -> None:
        """`worker` is attached and has loaded nothing; `begin` comes next. `on_imports` hears which
        modules a model has imported."""
        self.body_bytes_max = limits.body_bytes_max  # of a request
        self._worker = worker
        self._image = image
        self._limits = limits
        self._on_output = on_output
        self._on_imports = on_imports
        self._loop = asyncio.get_running_loop()
        self._residents: dict[int, Resident] = {}
        self._numbers = itertools.count()
        self._free: list[int] = []  # numbers of models that have left
        self._undoing: set[asyncio.Task[None]] = set()  # of loads that nobody waits for any more
        self._measured = (0, 0, 0.0)  # its bytes, for how many models, and when
        self._speaker = ""  # the model whose output is awaited
        worker.exited.add_done_callback(self._ended)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._worker.pid

    @property
    def exited(self) -> asyncio.Future[ExitStatus]:
        """Resolves when the process is gone, whoever ended it, and all it printed was taken."""
        return self._worker.exited

    @property
    def models(self) -> int:
        """How many models it holds."""
        return len(self._residents)

    @property
    def busy(self) -> bool:
        """Whether it is doing something for a model."""
        return self._worker.busy

    def private_bytes(self) -> int:
        """What the process takes beside the zygote; 0 when it is gone. Takes milliseconds."""
        return self._worker.memory_bytes()

    async def begin(self) -> None:
        """Has the process begin its life. Raises WorkerDied."""
        limits = self._limits
        share = frames.order(
            frames.SHARE,
            code=str(self._image.code),
            later_bytes=limits.memory_bytes_max,
            slack_bytes=limits.memory_slack_bytes,
        )
        await self.ask("", 0, share, limits.start_timeout_s)

    async def load(self, model: ModelSpec, timeout_s: float) -> Resident:
        """Loads a model, when its turn has come; hurts no other unless the process dies.

        Raises OutOfMemory, LoadFailed; NotBegun when the process ended before it began; ValueError
        when it holds MODELS_MAX. When the handler takes longer than `timeout_s` the process is
        killed. When cancelled, the load goes on as long, and is undone.
        """
        task = self._loop.create_task(self._load(model, timeout_s))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            undoing = self._loop.create_task(_undo(task))
            self._undoing.add(undoing)
            undoing.add_done_callback(self._undoing.discard)
            raise

    async def end(self) -> None:
        """Ends the process and all it started, with all models that are still in it."""
        await self._worker.unload()

    async def kill(self, reason: str) -> None:
        """Ends the process at once."""
        await self._worker.kill(reason)

    async def remove(self, resident: Resident) -> int:
        """Has a model unloaded; returns the bytes that came back at once."""
        number = resident.number << 16
        parts = frames.order(frames.UNLOAD, number)
        try:
            answer = await self.ask(resident.name, number, parts, self._limits.unload_timeout_s)
        except WorkerDied:
            return 0
        self._leave(resident, ExitStatus(reason="unloaded"))
        self._free.append(resident.number)
        return int(answer.body)

    async def ask(
        self, name: str, number: int, parts: list[frames.Data], timeout_s: float
    ) -> Answer:
        """Has the process do one thing for a model when it has done all it was asked before.

        Nothing is sent ahead: so what it prints until it answers is known to be that model's.
        Raises WorkerDied; TimedOut when it is killed for taking longer; NotBegun when it ended
        before.
        """
        worker = self._worker
        await worker.turn()
        if worker.ending:
            raise NotBegun("the worker ended before it came to this model")
        if name != self._speaker:
            worker.output.settle()
            worker.output.speak_for(partial(self._on_output, name))
            self._speaker = name
        call: asyncio.Future[Answer] = self._loop.create_future()
        worker.call(number, parts, timeout_s, partial(invocations.settle, call))
        return await call

    def share_bytes(self) -> int:
        """As `Resident.memory_bytes`."""
        bytes_then, models_then, at = self._measured
        models, now = len(self._residents), self._loop.time()
        moved = abs(models - models_then) * _MEASURED_PART > models_then
        if moved or now - at > _MEASURED_S:
            bytes_then = self.private_bytes()
            self._measured = bytes_then, models, now
        return bytes_then // max(1, models)

    def __repr__(self) -> str:
        state = "gone" if self.exited.done() else "busy" if self.busy else "idle"
        return f"<SharedWorker {self.pid}: {len(self._residents)} models, {state}>"

    async def _load(self, model: ModelSpec, timeout_s: float) -> Resident:
        resident = Resident(model.name, self._take_number(), self)
        order = load_order(model, self._image, self._limits)
        number = resident.number << 16
        parts = frames.order(frames.LOAD, number, **order)
        try:
            answer = await self.ask(model.name, number, parts, timeout_s)
        except NotBegun:
            raise
        except TimedOut:
            raise LoadFailed(f"the model did not load within {timeout_s:g} s") from None
        except WorkerDied as error:
            status = await asyncio.shield(self.exited)
            if lacked_memory(status, self._worker.output):
                raise OutOfMemory(f"the worker ended while it loaded the model: {status}") from None
            raise LoadFailed(str(error)) from None
        if answer.failure:
            self._free.append(resident.number)
            raise load_error(answer.status, answer.body.decode("utf-8"))
        self._residents[resident.number] = resident
        if self.exited.done():
            self._ended(self.exited)
        self._on_imports(imports.unpack(answer.body))
        return resident

    def _take_number(self) -> int:
        if self._free:
            return self._free.pop()
        number = next(self._numbers)
        if number >= MODELS_MAX:
            raise ValueError(f"worker {self.pid} holds {MODELS_MAX} models, which is all it can")
        return number

    def _leave(self, resident: Resident, status: ExitStatus) -> None:
        if self._residents.pop(resident.number, None) is not None:
            resident.exited.set_result(status)

    def _ended(self, exited: asyncio.Future[ExitStatus]) -> None:
        for resident in list(self._residents.values()):
            self._leave(resident, exited.result())


class Resident:
    """One model in a shared worker: what a Worker is for a model that lives alone."""

    __slots__ = ("_leaving", "exited", "name", "number", "worker")

    def __init__(self, name: str, number: int, worker: SharedWorker) -> None:
        self.name = name
        self.number = number  # in its process
        self.worker = worker
        self.exited: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()
        self._leaving = False

    @property
    def pid(self) -> int:
        """Its process's id."""
        return self.worker.pid

    def memory_bytes(self) -> int:
        """Its part of what the process takes, in equal parts; 0 when it is gone."""
        return 0 if self.exited.done() else self.worker.share_bytes()

    async def invoke(self, request: Invocation, timeout_s: float) -> Answer:
        """Has one request answered, after what the process was asked before.

        `timeout_s` counts from when its turn has come; when it is over the process is killed. When
        the caller is cancelled the handler finishes all the same, and its answer is dropped. Raises
        WorkerDied; TimedOut; NotBegun when nobody has seen the request; ValueError for a body above
        the limit.
        """
        if self._leaving or self.exited.done():
            raise NotBegun("the model has left its worker")
        number, worker = self.number << 16, self.worker
        parts = invocations.encode(number, [request], worker.body_bytes_max)
        return await worker.ask(self.name, number, parts, timeout_s)

    async def unload(self) -> int:
        """Removes the model from the process, which lives on; returns the bytes that came back at
        once. What is garbage comes back with later ones."""
        if self._leaving or self.exited.done():
            return 0
        self._leaving = True
        return await self.worker.remove(self)

    async def kill(self, reason: str) -> None:
        """Ends the process at once, with all models in it."""
        await self.worker.kill(reason)

    def __repr__(self) -> str:
        return f"<Resident {self.name} of {self.worker!r}>"


async def _undo(load: asyncio.Task[Resident]) -> None:
    """A load was given up while it ran."""
    with contextlib.suppress(WorkersError, ValueError):
        resident = await load
        await resident.unload()
