"""All registered models: brought, scaled, listed and taken away; nothing stays after a failure.

Every registration and every removal is a task of its own, so that a client that leaves changes
nothing. A name is taken as soon as it is known, and free again when nothing is left of its model.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, TypeVar

from modelplex.server.artifacts.sources import Artifact, Sources, default_name
from modelplex.server.config import Config
from modelplex.server.errors import (
    BadRequest,
    Internal,
    InvalidModel,
    ModelNotFound,
    ServerError,
    TimedOut,
    Unavailable,
)
from modelplex.server.logs.journal import Journal
from modelplex.server.serving.engine import Engine
from modelplex.server.serving.model import Model, Order, State
from modelplex.server.serving.registry import Registry

__all__ = ["Health", "Model", "Models", "Order", "Registered", "State"]

log = logging.getLogger(__name__)

WORKERS_MAX = 1000  # of one model; more: BadRequest
_END_S = 2.5  # for processes to end once draining is over
_STOPPING = "The server is being stopped."

T = TypeVar("T")


class Health(Enum):
    """What `/ping` says."""

    STARTING = "Starting"
    HEALTHY = "Healthy"
    PARTIAL = "Partial Healthy"
    UNHEALTHY = "Unhealthy"


@dataclass(frozen=True, slots=True)
class Registered:
    """What came of a registration or a change of workers.

    "registered": it has no worker; "scaled": all workers are there; "partial": some are missing;
    "processing": they are being started.
    """

    name: str
    state: Literal["registered", "scaled", "processing", "partial"]


class Models:
    """The models of this server. A registration that comes before `start` waits for it."""

    def __init__(self, config: Config, sources: Sources, journal: Journal) -> None:
        self._config = config
        self._sources = sources
        self._engine = Engine(config, journal)
        self._registry = Registry(config.models_max)
        self._startup: set[str] = set()  # names of start-up models, also of those that failed
        self.named = asyncio.Event()  # set when every start-up model has its name, or has failed
        self._tasks: set[asyncio.Task[Any]] = set()
        self._started = False
        self._closing = False

    async def start(self) -> None:
        """Starts what workers are forked from, then the start-up models.

        Raises StartFailed; a model that cannot be loaded is logged, and told by `health`.
        """
        arriving = self._keep(self._bring_at_startup())  # loads wait for the engine
        await self._engine.start()
        await arriving
        self._started = True

    # -- what the APIs ask --------------------------------------------------------------------

    async def register(self, order: Order) -> Registered:
        """Brings a model. Goes on when the caller is cancelled. Raises ServerError."""
        _check(order)
        obtained: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = self._keep(self._bring(order, obtained))
        waiting: list[asyncio.Future[Any]] = [task] if order.synchronous else [task, obtained]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            name = self._result(task)
            empty = self.find(name).min_workers == 0
            return Registered(name, "registered") if empty else self._counted(name)
        task.add_done_callback(lambda task: self._remember(obtained.result(), task))
        return Registered(obtained.result(), "processing")

    async def scale(
        self, name: str, min_workers: int, max_workers: int | None, synchronous: bool
    ) -> Registered:
        """Changes a model's workers. Raises ServerError; the model is as before then."""
        most = min_workers if max_workers is None else max_workers
        if not 0 <= min_workers <= most <= WORKERS_MAX:
            rule = f"0 <= min_worker <= max_worker <= {WORKERS_MAX}"
            raise BadRequest(f"min_worker={min_workers} and max_worker={most} are not {rule}.")
        task = self._keep(self._scale(self.find(name), min_workers, most))
        if not synchronous:
            task.add_done_callback(lambda task: _log_failure("scale.failed", name, task))
            return Registered(name, "processing")
        await asyncio.wait([task])
        self._result(task)
        return self._counted(name)

    async def unregister(self, name: str) -> None:
        """Takes a model away; requests that it has are answered first. Goes on when the caller is
        cancelled. Raises ModelNotFound, TimedOut (it is away then too)."""
        model = self.find(name)
        self._startup.discard(name)
        task = self._take_away(
            model,
            ModelNotFound(f"Model not found: {name}"),
            self._config.unregister_model_timeout_s,
        )
        await asyncio.wait([task])
        self._result(task)

    @property
    def version(self) -> int:
        """Another number whenever the set of models has changed."""
        return self._registry.version

    def find(self, name: str) -> Model:
        """Also one that is being loaded or unloaded. Raises ModelNotFound."""
        return self._registry.find(name)

    def page(self, limit: int, after: str) -> tuple[list[Model], str]:
        """At most `limit` models whose names come after `after`, in order, and the last one's name
        if there are more."""
        return self._registry.page(limit, after)

    def only(self) -> Model | None:
        """The start-up model, if there was exactly one. Raises ModelNotFound if it failed."""
        return self.find(*self._startup) if len(self._startup) == 1 else None

    def health(self) -> Health:
        """The platform decides what a multi-model container holds: it is well when it can load.

        Any other server is as well as the models that it was started with.
        """
        if not self._started:
            return Health.STARTING
        if not self._engine.is_able():
            return Health.UNHEALTHY
        if self._config.multi_model:
            return Health.HEALTHY
        if not all(self._is_served(name) for name in self._startup):
            return Health.UNHEALTHY
        ready = (model for model in self._registry if model.state is State.READY)
        short = any(model.ready_workers < model.min_workers for model in ready)
        return Health.PARTIAL if short else Health.HEALTHY

    async def close(self, drain_s: float) -> None:
        """Takes everything away: requests get `drain_s` to finish, then all processes end."""
        self._closing = True
        for model in self._registry:
            self._take_away(model, Unavailable(_STOPPING), drain_s)
        owned = {task for model in self._registry for task in (model.loading, model.unloading)}
        for task in self._tasks - owned:  # what has no name yet; the others end with their models
            task.cancel()
        await self._all_done(drain_s)
        for model in self._registry:
            model.hurry()
        await self._all_done(_END_S)
        await self._engine.close()
        await self._all_done(_END_S)

    # -- inside -------------------------------------------------------------------------------

    async def _bring(self, order: Order, obtained: asyncio.Future[str]) -> str:
        """From an order to a model that is ready; its name. Leaves nothing when it fails.

        `obtained` gets the name when the artifact is here, of a start-up model as soon as it has
        one.
        """
        model, artifact = None, None
        self._check_open()
        try:
            if order.model_name:
                model = self._enter(order.model_name, order)
                if order.at_startup:
                    obtained.set_result(model.name)
            artifact = await self._sources.obtain(order.url)
            if model is None:
                model = self._enter(_name(artifact, order), order)
            if not obtained.done():
                obtained.set_result(model.name)
            await model.load(artifact)
        except BaseException as error:
            if model is not None:
                await model.fail(self._told(model, error))
            if artifact is not None:
                await asyncio.to_thread(artifact.release)
            if model is not None:
                self._registry.remove(model)
            raise
        log.info("model.loaded", extra={"model": model.name, "url": model.url})
        return model.name

    async def _scale(self, model: Model, least: int, most: int) -> None:
        if model.loading is not None and not model.loading.done():
            await asyncio.wait([model.loading])
        await model.scale(least, most)

    async def _bring_at_startup(self) -> None:
        listed = await asyncio.to_thread(self._sources.startup)
        orders = [Order(url, name, synchronous=False, at_startup=True) for name, url in listed]
        self._startup = {order.model_name for order in orders if order.model_name}
        await asyncio.gather(*(self._name_at_startup(order) for order in orders))
        self.named.set()
        loading = [model.loading for model in self._registry if model.loading is not None]
        if loading:
            await asyncio.wait(loading)

    async def _name_at_startup(self, order: Order) -> None:
        """Begins to bring a start-up model; returns when it has its name, or has failed."""
        try:
            self._startup.add((await self.register(order)).name)
        except ServerError as error:
            extra = {"model": order.model_name, "url": order.url, "error": error.message}
            log.error("startup.failed", extra=extra)
            if not order.model_name:
                self._startup.add(order.url)  # it has no other name, and `health` must know

    def _enter(self, name: str, order: Order) -> Model:
        """From here on the name is taken. Raises as `Registry.check_free`, and Unavailable."""
        self._check_open()
        self._registry.check_free(name)
        model = Model(name, order, self._config, self._engine)
        model.loading = asyncio.current_task()
        self._registry.add(model)
        return model

    def _take_away(
        self, model: Model, refusal: ServerError, timeout_s: float
    ) -> asyncio.Task[None]:
        """The one task that ends a model, whoever asks for it."""
        if model.unloading is None:
            model.unloading = self._keep(self._unload(model, refusal, timeout_s))
        return model.unloading

    async def _unload(self, model: Model, refusal: ServerError, timeout_s: float) -> None:
        loading = model.loading
        if loading is not None and not loading.done():
            if model.state is State.LOADING:  # otherwise its load has failed and is cleaning up
                model.refuse(refusal)
                loading.cancel()
            await asyncio.wait([loading])
        if self._registry.get(model.name) is not model:
            return
        drained = await model.unload(refusal, timeout_s)
        self._registry.remove(model)
        log.info("model.unloaded", extra={"model": model.name})
        if not drained:
            raise TimedOut(f"Timed out while cleaning resources: {model.name}")

    def _remember(self, name: str, task: asyncio.Task[str]) -> None:
        """Why an asynchronous registration failed, for those who ask for the model later."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._registry.note_failure(name, f"its load failed: {error}")
        _log_failure("load.failed", name, task)

    def _is_served(self, name: str) -> bool:
        model = self._registry.get(name)
        return model is not None and (model.ready_workers > 0 or model.min_workers == 0)

    def _counted(self, name: str) -> Registered:
        model = self.find(name)
        missing = model.ready_workers < model.min_workers
        return Registered(name, "partial" if missing else "scaled")

    def _told(self, model: Model, error: BaseException) -> ServerError:
        """What those hear who wait for a model that does not come."""
        if isinstance(error, ServerError):
            return error
        if self._closing:
            return Unavailable(_STOPPING)
        return ModelNotFound(f"Model not found: {model.name}")

    def _result(self, task: asyncio.Task[T]) -> T:
        """Of a task that is done. Raises ServerError, also when it was cancelled."""
        if not task.cancelled():
            return task.result()
        self._check_open()
        raise Internal("Failed to start workers: the model was unregistered meanwhile.")

    def _check_open(self) -> None:
        if self._closing:
            raise Unavailable(_STOPPING)

    def _keep(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited for it may have left

    async def _all_done(self, timeout_s: float) -> None:
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=timeout_s)


def _check(order: Order) -> None:
    if order.batch_size < 1:
        raise BadRequest(f"batch_size must be 1 or more, not {order.batch_size}.")
    if order.max_batch_delay_s < 0:
        raise BadRequest(f"max_batch_delay must be 0 or more, not {order.max_batch_delay_s}.")
    if not 0 <= (order.initial_workers or 0) <= WORKERS_MAX:
        raise BadRequest(
            f"initial_workers must be 0 to {WORKERS_MAX}, not {order.initial_workers}."
        )


def _name(artifact: Artifact, order: Order) -> str:
    """The manifest's; a start-up model without one is named after its file."""
    name = artifact.manifest.model_name
    if not name and order.at_startup:
        name = default_name(order.url)
    if not name:
        raise InvalidModel("Model name is not defined.")
    return name


def _log_failure(event: str, name: str, task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error(event, extra={"model": name, "error": str(error)})
