"""All workers of one image on one instance, and the zygote that they are forked from.

A zygote that dies is replaced; the loaded models never notice. One that lacks what models keep
importing is replaced too, in the background, by one that has it imported.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import TypeVar

from modelplex.workers.errors import LoadFailed, StartFailed, WorkerDied
from modelplex.workers.forker import ForkerGone
from modelplex.workers.image import ImageSpec
from modelplex.workers.learning import Learned
from modelplex.workers.limits import PoolLimits
from modelplex.workers.loaded import Loaded
from modelplex.workers.model import ModelSpec
from modelplex.workers.nursery import Kind, Nursery
from modelplex.workers.process import ExitStatus, become_subreaper, bury_orphans
from modelplex.workers.shared import SharedWorker
from modelplex.workers.template import Template
from modelplex.workers.worker import Worker
from modelplex.workers.zygote import Zygote

log = logging.getLogger(__name__)

Made = TypeVar("Made")

_SPARE_DELAY_S = 0.05  # after a load, so that its first answer comes before another fork
_RESTART_DELAY_S = 0.05  # first pause before a dead zygote is started again; doubles
# Frameworks must not start threads in the zygote, and workers share the instance's vCPUs.
_DEFAULTS = {
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MXNET_USE_OPERATOR_TUNING": "0",
}
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR")


class Pool:
    """Loads models into workers. `on_output(model, line)` gets what handlers print; the model is
    "" for the image itself. `learned` is the file in which imports are remembered.

    Workers see `environment`, and PATH, HOME, LANG and TMPDIR of this process where it lacks them;
    nothing else of this process's environment.
    """

    def __init__(
        self,
        image: ImageSpec,
        environment: dict[str, str],
        on_output: Callable[[str, str], None],
        limits: PoolLimits | None = None,
        learned: Path | None = None,
    ) -> None:
        self._image = image
        self._limits = limits or PoolLimits()
        self._on_output = on_output
        self._marker = f"MODELPLEX_POOL={secrets.token_hex(8)}"
        self._environment = _environment(image, environment, self._marker)
        self._learned = Learned(learned)
        self._known: set[str] = set()  # modules that the current zygote has, or cannot import
        self._unshared: set[str] = set()  # modules that models imported and it has not
        self._generations = 0
        self._base_bytes = 0
        self._zygote: Zygote | None = None
        self._zygotes: set[Zygote] = set()  # with those that are about to leave
        self._changed = asyncio.Event()  # set when there is a zygote
        self._nursery = Nursery(on_output, self._limits)
        self._tasks: set[asyncio.Task[None]] = set()
        self._refreshing = False
        self._closed = False
        self._lifeline: tuple[int, int] | None = None

    async def start(self) -> None:
        """Starts the zygote. Raises StartFailed."""
        become_subreaper()
        self._lifeline = os.pipe()
        try:
            self._adopt(await self._new_zygote())
        except BaseException:
            await self.close()
            raise

    async def load(self, model: ModelSpec, timeout_s: float) -> Worker:
        """Loads a model into a worker.

        Raises OutOfMemory, LoadFailed. When cancelled, or after `timeout_s`, the process is killed.
        """
        return await self._by_zygote(partial(self._load, Worker, model), timeout_s)

    async def load_template(self, model: ModelSpec, timeout_s: float) -> Template:
        """Loads a model into a process that workers are forked from; otherwise as `load`."""
        load = partial(self._load, Template, model)
        template = await self._by_zygote(load, timeout_s)
        template.birth = self._birth
        return template

    async def prepare(self, name: str, folder: Path, timeout_s: float) -> None:
        """Has the image's function prepare an artifact in `folder`, of the model `name`.

        Raises OutOfMemory, LoadFailed.
        """
        await self._by_zygote(partial(self._prepare, name, folder), timeout_s)

    async def shared(self, timeout_s: float) -> SharedWorker:
        """A process that many models can be loaded into. Raises OutOfMemory, LoadFailed."""
        return await self._by_zygote(self._share, timeout_s)

    def base_bytes(self) -> int:
        """What the zygote takes, the last one while there is none. Grows as imports are learned."""
        if self._zygote is not None:
            self._base_bytes = self._zygote.base_bytes
        return self._base_bytes

    @property
    def zygote_pid(self) -> int | None:
        """The zygote that new workers come from; None while there is none."""
        return self._zygote.pid if self._zygote is not None else None

    async def close(self) -> None:
        """Ends every process of this pool. May be called twice."""
        self._closed = True
        self._changed.set()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._nursery.kill_all("pool closed")
        await asyncio.gather(*(zygote.stop() for zygote in list(self._zygotes)))
        bury_orphans(self._marker, set())
        if self._lifeline is not None:
            for descriptor in self._lifeline:
                os.close(descriptor)
            self._lifeline = None

    def __repr__(self) -> str:
        zygote = f"zygote {self._zygote.pid}" if self._zygote is not None else "no zygote"
        return f"<Pool {self._image.folder}: {zygote}, {len(self._nursery.living)} workers>"

    async def _by_zygote(self, make: Callable[[Zygote], Awaitable[Made]], timeout_s: float) -> Made:
        """Has something made by the zygote; by the next one when it dies."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    zygote = await self._current()
                    with contextlib.suppress(ForkerGone), zygote.loading():
                        return await make(zygote)
                    await asyncio.sleep(_RESTART_DELAY_S)
        except TimeoutError:
            raise LoadFailed(f"the model did not load within {timeout_s:g} s") from None

    async def _load(self, kind: type[Kind], model: ModelSpec, zygote: Zygote) -> Kind:
        async with self._fork(kind, model.name, zygote) as (process, sock):
            modules = await process.load(sock, model, self._image)
        self._learn(modules)
        self._keep(self._provide(zygote))
        return process

    async def _prepare(self, name: str, folder: Path, zygote: Zygote) -> None:
        async with self._fork(Loaded, name, zygote) as (process, sock):
            await process.prepare(sock, folder, self._image)
        await process.kill("it has prepared the artifact")

    async def _share(self, zygote: Zygote) -> SharedWorker:
        async with self._fork(Worker, "", zygote) as (worker, sock):
            worker.attach(sock)
            worker.confine()
            shared = SharedWorker(worker, self._image, self._limits, self._on_output, self._learn)
            await shared.begin()
        return shared

    @contextlib.asynccontextmanager
    async def _fork(
        self, kind: type[Kind], name: str, zygote: Zygote
    ) -> AsyncIterator[tuple[Kind, socket.socket]]:
        """A process just forked, which is ended when what follows fails."""
        process, sock = await self._nursery.fork(kind, name, zygote.forker)
        try:
            self._check_open()
            yield process, sock
        except WorkerDied as error:
            if zygote.exited.done():  # a process just forked dies with it: that says nothing
                raise ForkerGone from error
            raise LoadFailed(str(error)) from error
        except BaseException:
            await process.kill("load given up")
            raise

    async def _birth(self, template: Template, twin: ModelSpec | None) -> Worker:
        """A worker of a template, or of a twin of its model."""
        self._check_open()
        name = twin.name if twin else template.name
        worker, sock = await self._nursery.fork(Worker, name, template.forker)
        try:
            self._check_open()
            worker.confine()
            if twin is not None:
                await worker.become(sock, twin)
            else:
                worker.attach(sock)
        except BaseException:
            await worker.kill("load given up")
            raise
        return worker

    async def _current(self) -> Zygote:
        self._check_open()
        while self._zygote is None:
            await self._changed.wait()
            self._check_open()
        return self._zygote

    def _check_open(self) -> None:
        if self._closed:
            raise LoadFailed("the instance is being stopped", 503)

    async def _new_zygote(self) -> Zygote:
        """Starts a zygote; without what was learned if it cannot live with that."""
        try:
            return await self._spawn(self._learned.names)
        except StartFailed as error:
            if not self._learned.names:
                raise
            log.warning("zygote.start_failed_with_learned", extra={"error": str(error)})
            self._learned.forget()
            return await self._spawn(())

    async def _spawn(self, learned: tuple[str, ...]) -> Zygote:
        assert self._lifeline is not None
        zygote = Zygote(self._image, self._limits)
        preload = self._image.preload + learned
        on_line = partial(self._on_output, "")
        found = await zygote.start(self._environment, preload, self._lifeline[0], on_line)
        self._learned.add(found)
        self._known = {*preload, *found}
        self._unshared.clear()
        self._zygotes.add(zygote)
        zygote.exited.add_done_callback(partial(self._zygote_gone, zygote))
        return zygote

    def _adopt(self, zygote: Zygote) -> None:
        """From here on models are loaded from this one."""
        former, self._zygote = self._zygote, zygote
        self._changed.set()
        self._keep(self._provide(zygote))
        if former is not None:
            self._keep(self._nursery.forget(former.forker))
            former.retire()
        if zygote.exited.done():
            self._zygote_gone(zygote, zygote.exited)

    def _zygote_gone(self, zygote: Zygote, exited: asyncio.Future[ExitStatus]) -> None:
        self._zygotes.discard(zygote)
        if not self._closed:
            self._keep(self._nursery.forget(zygote.forker))
        if zygote is not self._zygote or self._closed:
            return
        log.warning("zygote.died", extra={"pid": zygote.pid, "status": str(exited.result())})
        self._zygote = None
        self._changed.clear()
        self._keep(self._restart())

    async def _restart(self) -> None:
        delay = _RESTART_DELAY_S
        while self._zygote is None:
            await asyncio.sleep(delay)
            delay = min(2 * delay, self._limits.restart_delay_max_s)
            try:
                self._adopt(await self._new_zygote())
            except StartFailed as error:
                log.error("zygote.restart_failed", extra={"error": str(error)})

    def _learn(self, modules: list[str]) -> None:
        news = [module for module in modules if module not in self._known]
        if not news:
            return
        self._learned.add(news)
        self._unshared.update(news)
        worth_it = len(self._unshared) >= self._limits.learn_modules_min
        if worth_it and not self._refreshing and self._generations < self._limits.generations_max:
            self._refreshing = True
            self._generations += 1
            self._keep(self._refresh())

    async def _refresh(self) -> None:
        """Replaces the zygote by one that has imported what was learned since."""
        try:
            await asyncio.sleep(self._limits.learn_delay_s)  # models that load now have more to say
            if self._zygote is not None:  # otherwise the one being started knows it
                self._adopt(await self._new_zygote())
        except StartFailed as error:
            log.error("zygote.refresh_failed", extra={"error": str(error)})
        finally:
            self._refreshing = False

    async def _provide(self, zygote: Zygote) -> None:
        """Have a worker forked before it is needed, when nothing else is being loaded."""
        if not self._limits.spare:
            return
        await asyncio.sleep(_SPARE_DELAY_S)
        if self._closed or zygote is not self._zygote:
            return
        if zygote.busy:  # the load under way sees to it
            return
        with contextlib.suppress(ForkerGone, LoadFailed):
            await self._nursery.provide(zygote.forker)
        if zygote is not self._zygote:
            await self._nursery.forget(zygote.forker)

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _environment(image: ImageSpec, given: dict[str, str], marker: str) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    environment = {**_DEFAULTS, **inherited, **given}
    if "PATH" not in given:  # as in an activated virtual environment
        environment["PATH"] = f"{image.python.parent}:{inherited.get('PATH', os.defpath)}"
    name, _, value = marker.partition("=")
    return {**environment, name: value}
