"""The workers of one model: started, replaced when they die, scaled, and ended.

Each worker has a post and a task that keeps the post filled. With more than one, or with
`preload_model`, the model is loaded once into a template and the workers are forked from it; not
where the loaded model has threads, for those do not survive a fork, nor where each gets a GPU.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import time
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from modelplex.server.errors import ServerError
from modelplex.server.serving.dispatch import Dispatch, Seat
from modelplex.server.serving.engine import Engine
from modelplex.workers.errors import WorkerDied
from modelplex.workers.model import ModelSpec
from modelplex.workers.template import Template
from modelplex.workers.worker import Worker

log = logging.getLogger(__name__)

READY, LOADING, UNLOADED = "READY", "LOADING", "UNLOADED"
_FIRST_DELAY_S = 0.1  # from a worker's first death to its replacement; doubles
_ids = itertools.count(9000)  # where Multi Model Server begins


class WorkerRow(NamedTuple):
    """A worker as `GET /models/{name}` describes it. `started_at` in seconds since 1970."""

    id: str
    started_at: float
    status: str
    gpu: bool
    memory_bytes: int
    pid: int


@dataclass(slots=True, eq=False)
class _Post:
    """One worker, and after its death the next. `up` resolves when the first one is loaded."""

    gpu_id: int | None
    up: asyncio.Future[None]
    id: str = field(default_factory=lambda: str(next(_ids)))
    started_at: float = field(default_factory=time.time)
    status: str = LOADING
    worker: Worker | None = None
    seat: Seat | None = None
    delay_s: float = 0.0  # before the last replacement
    leaving: bool = False
    keeper: asyncio.Task[None] | None = None


class Staff:
    """The workers of the model `spec`, which get their work from `dispatch`."""

    def __init__(
        self,
        spec: ModelSpec,
        engine: Engine,
        dispatch: Dispatch,
        *,
        preload: bool,
        restart_delay_max_s: float,
    ) -> None:
        self._spec = spec
        self._engine = engine
        self._dispatch = dispatch
        self._preload = preload
        self._restart_delay_max_s = restart_delay_max_s
        self._posts: list[_Post] = []
        self._template: Template | None = None
        self._making = asyncio.Lock()  # one template, however many wait for it
        self._shares = not engine.has_gpus

    @property
    def size(self) -> int:
        """Workers, with those that are being started."""
        return len(self._posts)

    @property
    def ready(self) -> int:
        """Workers that can be asked."""
        return sum(post.status == READY for post in self._posts)

    def rows(self) -> list[WorkerRow]:
        """Every worker; its memory is measured now."""
        return [_row(post) for post in self._posts]

    async def grow(self, count: int) -> None:
        """Adds workers; all of them or, with the ServerError of the first that fails, none.

        When cancelled it leaves them to `end`.
        """
        first = not self._posts  # otherwise those that came may work already, and may finish
        posts = [self._open() for _ in range(count)]
        try:
            await asyncio.gather(*(post.up for post in posts))
        except Exception:
            await self._dismiss(posts, kill=first)
            raise

    async def shrink(self, count: int) -> None:
        """Ends workers: those not ready first, then idle ones; the others finish their work."""
        newest_first = self._posts[::-1]
        newest_first.sort(key=self._usefulness)
        await self._dismiss(newest_first[:count], kill=False)
        if not self._wants_template():
            await self._drop_template(kill=False)

    async def end(self, *, kill: bool) -> None:
        """Ends all processes; busy ones finish their work first unless `kill`."""
        await self._dismiss(list(self._posts), kill)
        await self._drop_template(kill)

    # -- one post -----------------------------------------------------------------------------

    def _open(self) -> _Post:
        loop = asyncio.get_running_loop()
        post = _Post(self._engine.next_gpu(), loop.create_future())
        self._posts.append(post)
        post.keeper = loop.create_task(self._keep(post))
        return post

    async def _keep(self, post: _Post) -> None:
        """The life of a post; ends when it is dismissed, or its first worker cannot be started."""
        try:
            worker: Worker | None = await self._start(post)
            _resolve(post.up)
            while worker is not None:
                await self._serve(post, worker)
                worker = await self._replacement(post)
        except Exception as error:
            if not post.up.done():
                post.up.set_exception(error)
            elif not isinstance(error, ServerError):
                raise
        finally:
            post.status = UNLOADED
            self._posts.remove(post)
            post.up.cancel()

    async def _serve(self, post: _Post, worker: Worker) -> None:
        """From a worker's first request to its end."""
        began = time.monotonic()
        post.worker, post.status, post.started_at = worker, READY, time.time()
        post.seat = self._dispatch.join(worker)
        await asyncio.wait([worker.exited])
        status = worker.exited.result()
        post.worker, post.status = None, LOADING
        self._dispatch.leave(post.seat, WorkerDied(str(status)))
        if time.monotonic() - began > self._restart_delay_max_s:
            post.delay_s = 0.0  # it lived long: what happened before says nothing
        if not post.leaving:
            log.warning("worker.died", extra={"model": self._spec.name, "status": str(status)})

    async def _replacement(self, post: _Post) -> Worker | None:
        """The next worker; None when the post is to be given up."""
        while not post.leaving:
            post.delay_s = next_delay_s(post.delay_s, self._restart_delay_max_s)
            await asyncio.sleep(post.delay_s)
            try:
                return await self._start(post)
            except ServerError as error:
                extra = {"model": self._spec.name, "error": error.message}
                log.error("worker.restart_failed", extra=extra)
                self._dispatch.strand(error)
        return None

    async def _start(self, post: _Post) -> Worker:
        template = await self._current_template()
        if template is None:
            return await self._engine.load(replace(self._spec, gpu_id=post.gpu_id))
        return await self._engine.fork(template, self._spec.name)

    # -- several posts ------------------------------------------------------------------------

    async def _dismiss(self, posts: list[_Post], kill: bool) -> None:
        for post in posts:
            post.leaving = True
        await asyncio.gather(*(self._end(post, kill) for post in posts))

    async def _end(self, post: _Post, kill: bool) -> None:
        assert post.keeper is not None
        if post.worker is not None and post.seat is not None:
            freed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._dispatch.retire(post.seat, functools.partial(_resolve, freed))
            if kill:
                await post.worker.kill("unloaded")
            else:
                await self._unload(post, post.worker, freed)
        else:
            post.keeper.cancel()
        await asyncio.wait([post.keeper])

    async def _unload(self, post: _Post, worker: Worker, freed: asyncio.Future[None]) -> None:
        await freed
        post.status = UNLOADED
        await worker.unload()

    def _usefulness(self, post: _Post) -> int:
        if post.worker is None or post.seat is None:
            return 0
        return 2 if self._dispatch.is_busy(post.seat) else 1

    # -- the template -------------------------------------------------------------------------

    def _wants_template(self) -> bool:
        return self._shares and (self.size > 1 or (self._preload and self.size > 0))

    async def _current_template(self) -> Template | None:
        """What to fork from; None when each worker has to load for itself."""
        async with self._making:
            if self._template is not None and self._template.exited.done():
                self._template = None
            if self._template is None and self._wants_template():
                await self._make_template()
            return self._template

    async def _make_template(self) -> None:
        template = await self._engine.load_template(self._spec)
        if template.forkable:
            self._template = template
            return
        self._shares = False
        extra = {"model": self._spec.name, "threads": template.threads}
        log.warning("template.has_threads", extra=extra)
        await template.unload()

    async def _drop_template(self, kill: bool) -> None:
        template, self._template = self._template, None
        if template is not None:
            await (template.kill("unloaded") if kill else template.unload())


def next_delay_s(last_s: float, most_s: float) -> float:
    """How long to wait before the next replacement, when it was `last_s` before the last one."""
    return min(max(_FIRST_DELAY_S, 2 * last_s), most_s)


def _row(post: _Post) -> WorkerRow:
    worker = post.worker
    memory, pid = (worker.memory_bytes(), worker.pid) if worker is not None else (0, 0)
    return WorkerRow(post.id, post.started_at, post.status, post.gpu_id is not None, memory, pid)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
