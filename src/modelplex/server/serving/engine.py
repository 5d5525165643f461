"""The pools of workers as the model server uses them: loads within what memory there is."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import logging
import os
import re
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from modelplex.server.config import Config
from modelplex.server.errors import Internal, OutOfResources, ServerError, Unavailable
from modelplex.server.logs.journal import Journal
from modelplex.server.serving import memory
from modelplex.workers.environments import Environments
from modelplex.workers.errors import LoadFailed, OutOfMemory, WorkersError
from modelplex.workers.image import ImageSpec
from modelplex.workers.limits import PoolLimits
from modelplex.workers.model import ModelSpec
from modelplex.workers.pools import Pools
from modelplex.workers.template import Template
from modelplex.workers.worker import Worker

log = logging.getLogger(__name__)

Loaded = TypeVar("Loaded", Worker, Template)

_UNLOAD_S = 2.0  # from SIGTERM to SIGKILL of a worker
_ABLE_AGAIN_S = 10.0  # a zygote that is gone for longer will not be back soon


class Engine:
    """Loads models into processes, `loads_max` at once, and knows what they hold."""

    def __init__(self, config: Config, journal: Journal) -> None:
        self._config = config
        self._journal = journal
        self._turns = asyncio.Semaphore(config.loads_max)
        self._held: set[Worker | Template] = set()
        self._gpus = itertools.cycle(range(config.number_of_gpu)) if config.number_of_gpu else None
        self._lost_at: float | None = None
        self._temporary = tempfile.TemporaryDirectory(prefix="modelplex-")
        self._pools = self._make_pools(config.work_folder or Path(self._temporary.name))

    async def start(self) -> None:
        """Starts the process that workers are forked from. Raises StartFailed."""
        await self._pools.start()

    def next_gpu(self) -> int | None:
        """The GPU of the next worker, in turn; None where there is none."""
        return next(self._gpus) if self._gpus is not None else None

    @property
    def has_gpus(self) -> bool:
        """Whether each worker gets a GPU of its own, and so none can be forked from a template."""
        return self._gpus is not None

    async def load(self, model: ModelSpec) -> Worker:
        """Loads a model. Raises OutOfResources, Internal, Unavailable."""
        return await self._load(model, self._pools.load)

    async def load_template(self, model: ModelSpec) -> Template:
        """Loads a model into a process that workers can be forked from. Raises as `load`."""
        return await self._load(model, self._pools.load_template)

    async def fork(self, template: Template, name: str) -> Worker:
        """A worker of the model `name` that shares the template's memory. Raises as `load`."""
        began = time.perf_counter()
        try:
            worker = await template.fork(self._config.load_timeout_s)
        except WorkersError as error:
            raise _refusal(error) from error
        self._hold(worker)
        self._journal.worker_loaded(name, time.perf_counter() - began)
        return worker

    def is_able(self) -> bool:
        """Whether workers can be started, or will soon be."""
        if self._pools.zygote_pid is not None:
            self._lost_at = None
            return True
        now = time.monotonic()
        if self._lost_at is None:
            self._lost_at = now
        return now - self._lost_at < _ABLE_AGAIN_S

    async def held_bytes(self) -> int:
        """What all models' processes take, and those that they are forked from."""
        held = list(self._held)
        base = self._pools.base_bytes()
        return base + await asyncio.to_thread(lambda: sum(one.memory_bytes() for one in held))

    async def close(self) -> None:
        """Ends every process. May be called twice."""
        await self._pools.close()
        await asyncio.to_thread(self._temporary.cleanup)

    async def _load(
        self, model: ModelSpec, load: Callable[[ModelSpec, float], Awaitable[Loaded]]
    ) -> Loaded:
        async with self._turns:
            room = await self._room_bytes()
            if not room:
                raise OutOfResources("Failed to start workers: no memory is left for a model.")
            began = time.perf_counter()
            bounded = dataclasses.replace(model, limit_bytes=room)
            try:
                loaded = await load(bounded, self._config.load_timeout_s)
            except WorkersError as error:
                raise _refusal(error) from error
            self._hold(loaded)
            await self._check_room(loaded)
        self._journal.worker_loaded(model.name, time.perf_counter() - began)
        return loaded

    async def _room_bytes(self) -> int:
        limit = self._config.memory_limit_bytes
        held = await self.held_bytes() if limit else 0
        return await asyncio.to_thread(memory.room_bytes, limit, held)

    async def _check_room(self, loaded: Worker | Template) -> None:
        """Loads at the same time may have taken the same room: the last one has to go."""
        limit = self._config.memory_limit_bytes
        try:
            if not limit or await self.held_bytes() <= limit:
                return
        except asyncio.CancelledError:
            await loaded.kill("load given up")
            raise
        await loaded.kill("above memory_limit_bytes")
        raise OutOfResources("Failed to start workers: no memory is left for the model.")

    def _hold(self, process: Worker | Template) -> None:
        self._held.add(process)
        process.exited.add_done_callback(lambda _: self._held.discard(process))

    def _make_pools(self, folder: Path) -> Pools:
        config = self._config
        image = folder / "image"  # nothing lies there that a model could import
        image.mkdir(parents=True, exist_ok=True)
        limits = PoolLimits(
            unload_timeout_s=_UNLOAD_S,
            body_bytes_max=config.max_request_size,
            response_bytes_max=config.max_response_size,
            memory_bytes_max=config.memory_limit_bytes or memory.total_bytes(),
        )
        return Pools(
            ImageSpec(folder=image, python=config.python, handler=""),
            _environment(config.blacklist_env_vars),
            self._journal.model_output,
            limits,
            folder / "learned.json",
            Environments(folder / "environments", config.python),
        )


def _refusal(error: WorkersError) -> ServerError:
    """What a client is told of a load that failed."""
    text = f"Failed to start workers: {error}"
    match error:
        case OutOfMemory() | LoadFailed(status=507):
            return OutOfResources(text)
        case LoadFailed(status=503):
            return Unavailable(text)
        case _:
            return Internal(text)


def _environment(blacklist: str) -> dict[str, str]:
    """This process's variables without those whose whole name matches."""
    hidden = re.compile(blacklist) if blacklist else None
    return {
        name: value
        for name, value in os.environ.items()
        if hidden is None or hidden.fullmatch(name) is None
    }
