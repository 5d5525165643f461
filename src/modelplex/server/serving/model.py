"""One registered model: its artifact, its queue, its workers, and the way from LOADING to gone.

LOADING -> READY -> UNLOADING -> gone        LOADING -> UNLOADING when the load fails or is given up
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from modelplex.server.artifacts.sources import Artifact
from modelplex.server.config import Config
from modelplex.server.errors import InvalidModel, ModelNotFound, ServerError
from modelplex.server.serving.dispatch import Dispatch, Done, Gone
from modelplex.server.serving.engine import Engine
from modelplex.server.serving.staff import Staff, WorkerRow
from modelplex.workers.invocations import Answer, Invocation
from modelplex.workers.model import ModelSpec

T = TypeVar("T")

RUNTIME = "python"  # where neither the order nor the manifest says


class State(Enum):
    """What `GET /models/{name}` says besides Multi Model Server's members."""

    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"


@dataclass(frozen=True, slots=True)
class Order:
    """What a registration asks for. None and "" stand for what is configured, or the manifest's."""

    url: str
    model_name: str = ""
    handler: str = ""
    runtime: str = ""
    batch_size: int = 1
    max_batch_delay_s: float = 0.1
    initial_workers: int | None = None
    response_timeout_s: float | None = None
    preload: bool | None = None
    synchronous: bool = True
    at_startup: bool = False


class Model:
    """A model from its registration to its end. Requests may come as soon as it exists."""

    def __init__(self, name: str, order: Order, config: Config, engine: Engine) -> None:
        self.name = name
        self.url = order.url
        self.runtime = order.runtime or RUNTIME
        self.version = ""
        self.engine = ""
        self.state = State.LOADING
        self.batch_size = order.batch_size
        self.max_batch_delay_s = order.max_batch_delay_s
        self.at_startup = order.at_startup
        self.min_workers = self.max_workers = _workers(order, config)
        self.loading: asyncio.Task[str] | None = None  # what brings it here
        self.unloading: asyncio.Task[None] | None = None  # what takes it away
        self._order = order
        self._config = config
        self._processes = engine
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._artifact: Artifact | None = None
        self._staff: Staff | None = None
        self._scaling = asyncio.Lock()
        self._scales: set[asyncio.Task[None]] = set()
        self._drained: asyncio.Future[bool] = self._loop.create_future()
        self._dispatch = Dispatch(
            model=name,
            queue_max=config.job_queue_size,
            batch_size=order.batch_size,
            delay_s=order.max_batch_delay_s,
            timeout_s=order.response_timeout_s or config.default_response_timeout_s,
            clock=time.monotonic,
            wake_at=self._wake_at,
        )
        self._dispatch.staff(self.min_workers > 0)
        # Called for every request: `submit(invocation, done, gone)` calls `done` once with the
        # answer or a ServerError, maybe before it returns; `gone` says whether anybody waits.
        self.submit: Callable[[Invocation, Done, Gone], None] = self._dispatch.submit

    @property
    def queued(self) -> int:
        """Requests that wait for a worker."""
        return self._dispatch.queued

    @property
    def ready_workers(self) -> int:
        """Workers that can be asked."""
        return self._staff.ready if self._staff is not None else 0

    def rows(self) -> list[WorkerRow]:
        """Every worker; its memory is measured now."""
        return self._staff.rows() if self._staff is not None else []

    async def invoke(self, invocation: Invocation) -> Answer:
        """Has one request answered. Raises ServerError. May be cancelled."""
        answer: asyncio.Future[Answer | ServerError] = self._loop.create_future()
        self.submit(invocation, lambda outcome: _resolve(answer, outcome), answer.cancelled)
        outcome = await answer
        if isinstance(outcome, ServerError):
            raise outcome.with_traceback(None)  # it may be told to many
        return outcome

    # -- its life: the registry calls these ---------------------------------------------------

    async def load(self, artifact: Artifact) -> None:
        """Starts the first workers. Whatever it raises (ServerError), `fail` must follow."""
        self._artifact = artifact
        self._read(artifact)
        preload = self._config.preload_model if self._order.preload is None else self._order.preload
        self._staff = Staff(
            self._spec(artifact),
            self._processes,
            self._dispatch,
            preload=preload,
            restart_delay_max_s=self._config.restart_delay_max_s,
        )
        await self._staff.grow(self.min_workers)
        self.state = State.READY

    async def scale(self, min_workers: int, max_workers: int) -> None:
        """Brings the number of workers between the two. Raises ServerError, and is as before then.

        One at a time; cancelled when the model is unloaded.
        """
        task = self._loop.create_task(self._scale(min_workers, max_workers))
        self._scales.add(task)
        task.add_done_callback(self._scales.discard)
        await asyncio.wait([task])
        if task.cancelled():
            raise ModelNotFound(f"Model not found: {self.name}")  # it was unregistered meanwhile
        task.result()

    async def unload(self, refusal: ServerError, timeout_s: float) -> bool:
        """Refuses new requests, finishes the others, and ends and removes everything.

        After `timeout_s` those that are left are refused and their workers killed: False.
        """
        self.refuse(refusal)
        for scale in self._scales:
            scale.cancel()
        await asyncio.wait([self._drained], timeout=timeout_s)
        self.hurry()
        drained = self._drained.result()
        if not drained:
            self._dispatch.abort(refusal)
        await self._end(kill=not drained)
        return drained

    async def fail(self, error: ServerError) -> None:
        """Tells those who wait for the model why it did not come, and removes everything."""
        self.refuse(error)
        self._dispatch.abort(error)
        await self._end(kill=True)

    def refuse(self, refusal: ServerError) -> None:
        """From now on it is UNLOADING and takes no request. The first refusal stays."""
        self.state = State.UNLOADING
        self._dispatch.close(refusal, lambda: _resolve(self._drained, True))

    def hurry(self) -> None:
        """Ends the draining of an `unload` now."""
        _resolve(self._drained, False)

    # -- inside -------------------------------------------------------------------------------

    def _read(self, artifact: Artifact) -> None:
        manifest = artifact.manifest
        self.runtime = self._order.runtime or manifest.runtime or RUNTIME
        self.version, self.engine = manifest.model_version, manifest.engine

    def _spec(self, artifact: Artifact) -> ModelSpec:
        manifest, default = artifact.manifest, self._config.default_service_handler
        handler = self._order.handler or manifest.handler or default
        if not handler:
            raise InvalidModel(
                "Model handler is not defined: give `handler`, or set default_service_handler."
            )
        return ModelSpec(
            self.name,
            artifact.folder,
            handler,
            batch_size=self.batch_size,
            decode=self._config.decode_input_request,
        )

    async def _scale(self, min_workers: int, max_workers: int) -> None:
        async with self._scaling:
            if self._staff is None or self.state is not State.READY:
                raise ModelNotFound(f"Model not found: {self.name}")
            before = self.min_workers, self.max_workers
            self.min_workers, self.max_workers = min_workers, max_workers
            try:
                await self._staff_between(self._staff, min_workers, max_workers)
            except ServerError:
                self.min_workers, self.max_workers = before
                raise

    async def _staff_between(self, staff: Staff, least: int, most: int) -> None:
        if staff.size < least:
            self._dispatch.staff(True)
            try:
                await staff.grow(least - staff.size)
            finally:
                self._dispatch.staff(staff.size > 0)
        elif staff.size > most:
            if most == 0:
                self._dispatch.staff(False)
            await staff.shrink(staff.size - most)

    async def _end(self, kill: bool) -> None:
        if self._scales:
            await asyncio.wait(self._scales)
        if self._staff is not None:
            await self._staff.end(kill=kill)
        if self._timer is not None:
            self._timer.cancel()
        if self._artifact is not None:
            await asyncio.to_thread(self._artifact.release)

    def _wake_at(self, when: float) -> None:
        """One timer is enough: when it is early, it is set anew."""
        if self._timer is None:
            delay = max(0.0, when - time.monotonic())
            self._timer = self._loop.call_later(delay, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._dispatch.tick()


def _workers(order: Order, config: Config) -> int:
    wanted = order.initial_workers
    return config.default_workers_per_model if wanted is None else wanted


def _resolve(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)
