"""A container of many models: kept alive, loaded into, measured. What Pools is for handlers.

The platform owns the set of loaded models (D-CONTRACT): what the container has loaded and nobody
here knows of is unloaded. A container that ends, or is ended because it is unhealthy, is started
again after growing pauses; its models are gone then, and are loaded again when they are wanted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from modelplex.instance.containers.container import Container, Terms, begin
from modelplex.instance.containers.contract import NoAnswer, Reply
from modelplex.instance.containers.ledger import Ledger
from modelplex.instance.containers.runner import Ended, MakeRunner, Surroundings
from modelplex.instance.containers.strays import Strays
from modelplex.instance.containers.tenant import Tenant, by_container
from modelplex.instance.tasks import Tasks
from modelplex.settings import Settings
from modelplex.workers.errors import LoadFailed, OutOfMemory, StartFailed
from modelplex.workers.model import ModelSpec

log = logging.getLogger(__name__)

RESTART_DELAY_S = 0.5  # before a container is started again; doubles while it does not last
LASTING_S = 60.0  # healthy for so long, a container's end is its first again
CONFLICT, NO_MEMORY = 409, 507


class ContainerPool:
    """Loads models into one container. `tell` hears what happens to it, for the instance's log."""

    def __init__(
        self, make: MakeRunner, place: Surroundings, terms: Terms, tell: Callable[[str], None]
    ) -> None:
        self._make = make
        self._place = place
        self._terms = terms
        self._limits = terms.limits
        self._tell = tell
        self._life: _Life | None = None
        self._trouble = ""  # why there is no container, and will be none for a while
        self._changed = asyncio.Event()  # set when there is a container, or trouble
        self._keeper: asyncio.Task[None] | None = None
        self._base_bytes = 0
        self._first_delay_s = min(RESTART_DELAY_S, terms.limits.restart_delay_max_s)

    @property
    def zygote_pid(self) -> int | None:
        """The container's first process; None while there is none, or it has no number here."""
        return (self._life.container.pid or None) if self._life else None

    async def start(self) -> None:
        """Start the container. Raises StartFailed with the sentence for the endpoint."""
        life = await self._begin()
        self._keeper = asyncio.create_task(self._keep(life))

    def base_bytes(self) -> int:
        """What it takes beside its models; while there is none, what the last one took."""
        if self._life is not None:
            self._base_bytes = self._life.ledger.base_bytes
        return self._base_bytes

    async def load(self, model: ModelSpec, timeout_s: float) -> Tenant:
        """Load a model. Raises OutOfMemory, LoadFailed.

        When cancelled, or after `timeout_s`, the container is told to forget it.
        """
        try:
            async with asyncio.timeout(timeout_s):
                life = await self._open_life()
                return await life.load(model, timeout_s)
        except TimeoutError:
            raise LoadFailed(f"the model did not load within {timeout_s:g} s") from None

    async def measure(self) -> None:
        """Look what the container takes now, on which its models' parts and the base follow."""
        if self._life is not None:
            await self._life.measure()

    async def close(self) -> None:
        """End the container. May be called twice."""
        if self._keeper is None:
            return
        self._keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._keeper
        self._keeper = None

    async def _open_life(self) -> _Life:
        """The container's, when there is one. Raises LoadFailed when it cannot be started."""
        while self._life is None:
            if self._trouble:
                raise LoadFailed(f"the container is to be started again: {self._trouble}", 503)
            self._changed.clear()
            await self._changed.wait()
        return self._life

    async def _begin(self) -> _Life:
        container = await begin(self._make, self._place, self._terms)
        try:
            taken = await container.runner.memory_bytes()
            life = _Life(container, Ledger(taken), self._limits, self._place.memory_bytes)
            await life.strays.reconcile()
        except BaseException:
            await asyncio.shield(container.end(self._limits.unload_timeout_s))
            raise
        self._life, self._trouble = life, ""
        self._changed.set()
        return life

    async def _keep(self, life: _Life) -> None:
        """For ever: see the container to its end, and start it again."""
        loop, delay = asyncio.get_running_loop(), self._first_delay_s
        while True:
            began = loop.time()
            how = await self._live(life)
            self._tell(f"The container has ended: {how}. It is started again.")
            if loop.time() - began > LASTING_S:
                delay = self._first_delay_s
            life, delay = await self._again(delay)

    async def _live(self, life: _Life) -> Ended:
        """The container's life to its end, of which nothing is left."""
        try:
            how = await life.live()
        except asyncio.CancelledError:
            await self._end(life, Ended("the instance stops"), self._limits.stop_timeout_s)
            raise
        await self._end(life, how, self._limits.unload_timeout_s)
        return how

    async def _end(self, life: _Life, how: Ended, grace_s: float) -> None:
        self.base_bytes()
        self._life = None
        life.close(how)
        await asyncio.shield(life.container.end(grace_s))

    async def _again(self, delay: float) -> tuple[_Life, float]:
        """The next container, and the pause before the one after that."""
        while True:
            await asyncio.sleep(delay)
            delay = min(2 * delay, self._limits.restart_delay_max_s)
            try:
                return await self._begin(), delay
            except StartFailed as error:
                self._trouble = str(error)
                self._changed.set()
                self._tell(f"The container could not be started again: {error}")


class _Life:
    """One life of the container, and the models in it."""

    def __init__(
        self, container: Container, ledger: Ledger, limits: Settings, memory_bytes: int
    ) -> None:
        self.container = container
        self.ledger = ledger
        self._limits = limits
        self._memory_bytes = memory_bytes
        self._closed = False
        self._tenants: dict[str, Tenant] = {}
        self._coming: set[str] = set()
        self._leaving: dict[str, asyncio.Task[int]] = {}
        self._tasks = Tasks()
        self.strays = Strays(container, limits, self._knows)

    async def live(self) -> Ended:
        """Until it ends; how."""
        chasing = self._tasks.begin(self.strays.chase())
        try:
            return await self.container.over()
        finally:
            chasing.cancel()

    def close(self, how: Ended) -> None:
        """It has ended, and with it all models that were in it."""
        self._closed = True
        for tenant in list(self._tenants.values()):
            tenant.end(by_container(how))

    async def measure(self) -> None:
        """What the container takes; one that has grown far without need is ended."""
        self.ledger.measured(await self.container.runner.memory_bytes())
        idle = not (self._tenants or self._coming or self._leaving)
        if idle and self.ledger.has_grown(self._memory_bytes):
            self.container.condemn(f"without models it takes {self.ledger.base_bytes} bytes")

    async def load(self, model: ModelSpec, timeout_s: float) -> Tenant:
        """Load a model. Raises OutOfMemory, LoadFailed."""
        name = model.folder.parent.name
        if name in self._leaving:
            await asyncio.wait([self._leaving[name]])
        self._coming.add(name)
        try:
            self.ledger.begin(name, await self._total())
            await self._order(name, model, timeout_s)
            self.ledger.loaded(name, await self._total())
            if self._closed:
                raise LoadFailed("the container ended as soon as the model was loaded", 503)
            tenant = self._tenants[name] = self._tenant(name)
            return tenant
        except BaseException as error:
            refused = isinstance(error, LoadFailed)
            removal = self._begin_leaving(name, unsure=not refused)
            if refused:  # Multi Model Server keeps a model that it had no memory for
                await asyncio.wait([removal])
            raise
        finally:
            self._coming.discard(name)

    async def _order(self, name: str, model: ModelSpec, timeout_s: float) -> None:
        """Have the container load it. Raises OutOfMemory, LoadFailed."""
        try:
            reply = await self._load_anew(name, model, timeout_s)
        except NoAnswer as error:
            how = await self.container.settled()
            if how is None:
                raise LoadFailed(str(error)) from None
            status = NO_MEMORY if how.out_of_memory else 500
            raise LoadFailed(
                f"the container ended while it loaded the model: {how}", status
            ) from None
        if reply.status == NO_MEMORY:
            raise OutOfMemory(reply.text)
        if not reply.good:
            raise LoadFailed(reply.text or f"the container answered {reply.status}", reply.status)

    async def _load_anew(self, name: str, model: ModelSpec, timeout_s: float) -> Reply:
        contract, url = self.container.contract, self.container.runner.path(model.folder)
        reply = await contract.load(name, url, timeout_s, model.name)
        if reply.status != CONFLICT:
            return reply
        await contract.unload(name, self._limits.container_unload_timeout_s)
        return await contract.load(name, url, timeout_s, model.name)

    def _tenant(self, name: str) -> Tenant:
        def size() -> int:
            return self.ledger.part(name)

        async def leave(_: Tenant) -> int:
            self._tenants.pop(name, None)
            return await self._begin_leaving(name)

        target = f"/models/{name}/invoke".encode()
        return Tenant(self.container, target, self._limits.response_bytes_max, size, leave)

    def _begin_leaving(self, name: str, *, unsure: bool = False) -> asyncio.Task[int]:
        """Have a model forgotten. `unsure`: the container may yet come to load it."""
        if unsure:
            self.strays.expect(name)
        task = self._leaving[name] = self._tasks.begin(self._remove(name))
        task.add_done_callback(lambda _: self._leaving.pop(name, None))
        return task

    async def _remove(self, name: str) -> int:
        """Unload a model; the bytes that came back. Nothing can be done about a dead container."""
        if not (self._closed or self.container.ended.done()):
            self.ledger.measured(await self._total())
            await self.strays.remove(name)
        return self.ledger.left(name, await self._total())

    async def _total(self) -> int:
        return await self.container.runner.memory_bytes()

    def _knows(self, name: str) -> bool:
        return name in self._tenants or name in self._coming
