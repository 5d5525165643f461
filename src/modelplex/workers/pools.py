"""A pool for the models of an image, and one more for each environment that models bring along.

A model with `code/requirements.txt` is loaded by the pool of that environment, with a zygote of its
own, which starts with the first such model and ends when none has been there for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from modelplex.runtime.handlers import CODE_VARIABLE
from modelplex.workers.environments import Environment, Environments
from modelplex.workers.errors import LoadFailed
from modelplex.workers.image import ImageSpec
from modelplex.workers.limits import PoolLimits
from modelplex.workers.model import ModelSpec
from modelplex.workers.pool import Pool
from modelplex.workers.shared import SharedWorker
from modelplex.workers.template import Birth, Template
from modelplex.workers.worker import Worker

log = logging.getLogger(__name__)

Loaded = TypeVar("Loaded", Worker, Template)

REQUIREMENTS = Path("code", "requirements.txt")  # in a model's folder


@dataclasses.dataclass(slots=True, eq=False)
class _Own:
    """The pool of one environment. `users` are loads under way and processes that live."""

    environment: Environment
    pool: Pool
    started: asyncio.Task[None]
    users: int = 0
    leaving: asyncio.TimerHandle | None = None


class Pools:
    """Loads models as a Pool does, each with what its requirements ask for.

    Without `environments` all models are loaded by the main pool, whatever they bring along. A pool
    of an environment that has held no process for `idle_s` is closed.
    """

    def __init__(  # noqa: PLR0917  as a Pool, and one more
        self,
        image: ImageSpec,
        environment: dict[str, str],
        on_output: Callable[[str, str], None],
        limits: PoolLimits | None = None,
        learned: Path | None = None,
        environments: Environments | None = None,
        *,
        idle_s: float = 300.0,
    ) -> None:
        self._image = image
        self._variables = environment
        self._on_output = on_output
        self._limits = limits
        self._environments = environments
        self._idle_s = idle_s
        self._main = Pool(image, environment, on_output, limits, learned)
        self._own: dict[str, _Own] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def start(self) -> None:
        """Starts the main zygote. Raises StartFailed."""
        await self._main.start()

    async def load(self, model: ModelSpec, timeout_s: float) -> Worker:
        """Loads a model, and before that whatever it takes: an environment, a zygote.

        Raises OutOfMemory, LoadFailed. After `timeout_s` the load fails, but a build goes on.
        """
        return await self._load(model, timeout_s, Pool.load)

    async def load_template(self, model: ModelSpec, timeout_s: float) -> Template:
        """The same, into a process that never predicts and can be forked."""
        return await self._load(model, timeout_s, Pool.load_template)

    async def prepare(self, name: str, folder: Path, timeout_s: float) -> None:
        """Has the image prepare an artifact. Raises OutOfMemory, LoadFailed."""
        await self._main.prepare(name, folder, timeout_s)

    async def shared(self, timeout_s: float) -> SharedWorker:
        """A process for many models without requirements. Raises OutOfMemory, LoadFailed."""
        return await self._main.shared(timeout_s)

    def base_bytes(self) -> int:
        """What all zygotes take."""
        own = (own.pool for own in self._own.values())
        return sum(pool.base_bytes() for pool in (self._main, *own))

    @property
    def zygote_pid(self) -> int | None:
        """The main zygote; None while there is none."""
        return self._main.zygote_pid

    async def close(self) -> None:
        """Ends every process and every build. May be called twice."""
        self._closed = True
        for own in list(self._own.values()):
            self._retire(own)
        if self._environments is not None:
            await self._environments.close()
        await asyncio.gather(self._main.close(), *self._closing)

    async def _load(
        self,
        model: ModelSpec,
        timeout_s: float,
        load: Callable[[Pool, ModelSpec, float], Awaitable[Loaded]],
    ) -> Loaded:
        requirements = model.folder / REQUIREMENTS
        if self._environments is None or not requirements.is_file():
            return await load(self._main, model, timeout_s)
        self._check_trusted(requirements)
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                own = await self._enter(self._environments, requirements, model.name)
        except TimeoutError:
            text = f"the model's {requirements.name} was not installed within {timeout_s:g} s"
            raise LoadFailed(text) from None
        try:
            loaded = await load(own.pool, model, deadline - clock())
        except BaseException:
            self._leave(own)
            raise
        loaded.exited.add_done_callback(lambda _: self._leave(own))
        if isinstance(loaded, Template):
            loaded.birth = functools.partial(self._birth, own, loaded.birth)
        return loaded

    def _check_trusted(self, requirements: Path) -> None:
        """Raises LoadFailed where packages of models, which are code, must not be installed."""
        if self._variables.get(CODE_VARIABLE, "").strip().lower() == "refuse":
            raise LoadFailed(
                f"The model brings a {requirements.name}, and this endpoint refuses code of models "
                f"({CODE_VARIABLE}=refuse): leave code/ out, or allow it.",
                403,
            )

    async def _birth(
        self, own: _Own, birth: Birth, template: Template, twin: ModelSpec | None
    ) -> Worker:
        """A worker of a template: it may live longer, and needs the pool as well."""
        worker = await birth(template, twin)
        own.users += 1
        worker.exited.add_done_callback(lambda _: self._leave(own))
        return worker

    async def _enter(self, environments: Environments, requirements: Path, name: str) -> _Own:
        """The pool for these requirements, started; its user until `_leave`."""
        self._check_open()
        on_line = functools.partial(self._on_output, name)
        environment = await environments.obtain(requirements, on_line)
        self._check_open()
        own = self._own.get(environment.key)
        if own is None:
            own = self._own[environment.key] = self._make(environment)
        else:
            environments.release(environment)
        if own.leaving is not None:
            own.leaving.cancel()
        own.users += 1
        try:
            await asyncio.shield(own.started)
        except BaseException as error:
            self._leave(own)
            if isinstance(error, Exception):
                self._retire(own)
                raise LoadFailed(str(error)) from error
            self._check_open()  # the start may have been cancelled, and not this load
            raise
        return own

    def _check_open(self) -> None:
        if self._closed:
            raise LoadFailed("the models' pools are closed", 503)

    def _make(self, environment: Environment) -> _Own:
        image = dataclasses.replace(self._image, python=environment.python)
        learned = environment.folder / "learned.json"
        pool = Pool(image, self._variables, self._on_output, self._limits, learned)
        return _Own(environment, pool, asyncio.get_running_loop().create_task(pool.start()))

    def _leave(self, own: _Own) -> None:
        own.users -= 1
        if own.users == 0 and self._own.get(own.environment.key) is own:
            loop = asyncio.get_running_loop()
            own.leaving = loop.call_later(self._idle_s, self._retire, own)

    def _retire(self, own: _Own) -> None:
        """Closes the pool of an environment; the next model that needs it gets a new one."""
        if own.leaving is not None:
            own.leaving.cancel()
        if self._own.get(own.environment.key) is own:
            del self._own[own.environment.key]
            task = asyncio.get_running_loop().create_task(self._shut(own))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _shut(self, own: _Own) -> None:
        own.started.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await own.started
        await own.pool.close()
        assert self._environments is not None
        self._environments.release(own.environment)
        log.info("pool.closed", extra={"environment": own.environment.key})
