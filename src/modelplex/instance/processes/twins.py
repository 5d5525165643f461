"""Models of byte-identical artifacts share their memory too: all are forked from one template.

The first model of a content is loaded as any other; it costs nothing that others may follow. With
the second, a process loads the content once more and never predicts. The second is forked from it,
and so is a replacement for the first, which then ends. Whoever is forked shares all pages with the
template until it writes to them. The template ends with the last of its forks.

A content whose handler starts threads while it loads, asks for the model's name or writes into the
model's folder is not shared: each of its models is loaded for itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from modelplex.instance.tasks import Tasks
from modelplex.workers.errors import LoadFailed, OutOfMemory
from modelplex.workers.model import ModelSpec
from modelplex.workers.pools import Pools
from modelplex.workers.process import ExitStatus
from modelplex.workers.template import Template
from modelplex.workers.worker import Worker

log = logging.getLogger(__name__)

REPLACE_TIMEOUT_S = 30.0  # for forking a replacement; later, the model stays where it is


@dataclass(slots=True, eq=False)
class _Kin:
    """The models of one content."""

    content: str
    loading: int = 0
    alone: dict[Worker, ModelSpec] = field(default_factory=dict)  # loaded for themselves
    forks: set[Worker] = field(default_factory=set)
    template: Template | None = None
    making: asyncio.Task[OutOfMemory | None] | None = None
    apart: bool = False  # they cannot share

    @property
    def empty(self) -> bool:
        return not (self.loading or self.alone or self.forks)


class Twins:
    """Loads models, those of one content into shared memory."""

    def __init__(
        self, pools: Pools, original: Callable[[str], Path], swap: Callable[[Worker, Worker], bool]
    ) -> None:
        """`original` is the folder of a content. `swap(old, new)` lets `new` answer in the place of
        `old`, which is ended when it owes no answer; False if `old` answers for nobody any more.
        """
        self._pools = pools
        self._original = original
        self._swap = swap
        self._kin: dict[str, _Kin] = {}
        self._forked: dict[Worker, _Kin] = {}
        self._tasks = Tasks()

    async def load(self, spec: ModelSpec, content: str, timeout_s: float) -> Worker:
        """A worker with the model. `content` is equal for byte-identical models, "" for others.

        Raises OutOfMemory, LoadFailed, as `Pools.load` does.
        """
        if not content or spec.gpu_id is not None:
            return await self._pools.load(spec, timeout_s)
        kin = self._kin.setdefault(content, _Kin(content))
        first = kin.empty
        kin.loading += 1
        try:
            async with asyncio.timeout(timeout_s):
                if first or kin.apart:
                    return await self._load_alone(kin, spec, timeout_s)
                return await self._load_twin(kin, spec, timeout_s)
        except TimeoutError:
            raise LoadFailed(f"the model did not load within {timeout_s:g} s") from None
        finally:
            kin.loading -= 1
            self._tidy(kin)

    def share_bytes(self, worker: Worker) -> int:
        """What a worker takes beside its own bytes: its part of the memory that it shares."""
        kin = self._forked.get(worker)
        if kin is None or kin.template is None:
            return 0
        return kin.template.memory_bytes() // len(kin.forks)

    def close(self) -> None:
        """Begin nothing more; the processes are the pools' to end."""
        self._tasks.cancel()

    # -- loading ------------------------------------------------------------------------------

    async def _load_alone(self, kin: _Kin, spec: ModelSpec, timeout_s: float) -> Worker:
        worker = await self._pools.load(spec, timeout_s)
        if kin.template is not None:  # made meanwhile, for another one
            await worker.kill("its content is shared")
            return await self._fork(kin, kin.template, spec, timeout_s)
        kin.alone[worker] = spec
        worker.exited.add_done_callback(functools.partial(self._gone, kin, worker))
        return worker

    async def _load_twin(self, kin: _Kin, spec: ModelSpec, timeout_s: float) -> Worker:
        if kin.template is None:
            if kin.making is None:
                kin.making = self._tasks.begin(self._make_template(kin, spec, timeout_s))
            if (error := await asyncio.shield(kin.making)) is not None:
                raise error
        try:
            if kin.template is not None:
                worker = await self._fork(kin, kin.template, spec, timeout_s)
                self._tasks.begin(self._replace_all(kin))
                return worker
        except OutOfMemory:
            raise
        except LoadFailed as failure:
            self._set_apart(kin, str(failure))
        return await self._load_alone(kin, spec, timeout_s)

    async def _fork(
        self, kin: _Kin, template: Template, spec: ModelSpec, timeout_s: float
    ) -> Worker:
        worker = await template.fork(timeout_s, spec)
        kin.forks.add(worker)
        self._forked[worker] = kin
        worker.exited.add_done_callback(functools.partial(self._gone, kin, worker))
        return worker

    async def _make_template(
        self, kin: _Kin, spec: ModelSpec, timeout_s: float
    ) -> OutOfMemory | None:
        """Loads the content once for all of them, from where it stays as long as one of them.

        They are set apart if that fails, but for a lack of memory, which is returned.
        """
        folder = self._original(kin.content)
        try:
            of_all = dataclasses.replace(spec, folder=folder, twins=True)
            template = await self._pools.load_template(of_all, timeout_s)
            if reason := _against(template):
                self._set_apart(kin, reason)
                await template.kill(reason)
            else:
                kin.template = template
                template.exited.add_done_callback(functools.partial(self._lost_template, kin))
        except OutOfMemory as error:
            return error
        except LoadFailed as error:
            self._set_apart(kin, str(error))
        finally:
            kin.making = None
            self._tidy(kin)
        return None

    async def _replace_all(self, kin: _Kin) -> None:
        """Forks a replacement for each that was loaded for itself."""
        for old, spec in list(kin.alone.items()):
            if kin.template is None:
                return
            with contextlib.suppress(LoadFailed):  # it goes on as it is
                new = await self._fork(kin, kin.template, spec, REPLACE_TIMEOUT_S)
                if self._swap(old, new):
                    kin.alone.pop(old, None)
                else:
                    await new.kill("its model has left meanwhile")

    # -- ends ---------------------------------------------------------------------------------

    def _set_apart(self, kin: _Kin, reason: str) -> None:
        kin.apart = True
        log.info("twins.apart", extra={"content": kin.content, "reason": reason})

    def _gone(self, kin: _Kin, worker: Worker, _: asyncio.Future[ExitStatus]) -> None:
        kin.alone.pop(worker, None)
        kin.forks.discard(worker)
        self._forked.pop(worker, None)
        self._tidy(kin)

    def _lost_template(self, kin: _Kin, _: asyncio.Future[ExitStatus]) -> None:
        kin.template = None

    def _tidy(self, kin: _Kin) -> None:
        """End a template that nobody shares any more, and forget kin that is no more."""
        template = kin.template
        if template is not None and not (kin.loading or kin.forks or kin.alone):
            kin.template = None
            self._tasks.begin(template.kill("its models have left"))
        if kin.empty and self._kin.get(kin.content) is kin:
            del self._kin[kin.content]


def _against(template: Template) -> str:
    """Why no twins can be forked from it; "" if they can."""
    if template.asked_name:
        return "the handler asks for the model's name while it loads"
    if not template.forkable:
        return f"the handler has {template.threads} threads after it has loaded"
    return ""
