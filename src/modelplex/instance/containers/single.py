"""The container of a single-model endpoint: it starts when its model's artifact is there.

The model has the whole container, and its unloading is the container's end.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import replace

from modelplex.instance.containers.container import Container, Terms, begin
from modelplex.instance.containers.contract import INVOCATIONS
from modelplex.instance.containers.runner import MakeRunner, Surroundings
from modelplex.instance.containers.tenant import Tenant, by_container
from modelplex.instance.tasks import Tasks
from modelplex.workers.errors import LoadFailed, StartFailed
from modelplex.workers.model import ModelSpec


class SingleContainer:
    """Starts a container for the model. `on_failed` hears the sentence when that fails."""

    def __init__(
        self, make: MakeRunner, place: Surroundings, terms: Terms, on_failed: Callable[[str], None]
    ) -> None:
        self._make = make
        self._place = place
        self._terms = terms
        self._on_failed = on_failed
        self._sizes: dict[Container, int] = {}
        self._ending: dict[Container, asyncio.Task[int]] = {}
        self._tasks = Tasks()

    @property
    def zygote_pid(self) -> int | None:
        """The container's first process; None while there is none, or it has no number here."""
        return next((container.pid or None for container in self._sizes), None)

    async def start(self) -> None:
        """Nothing is to be done before there is the model."""

    def base_bytes(self) -> int:
        """All that the container takes is its model's."""
        return 0

    async def load(self, model: ModelSpec, timeout_s: float) -> Tenant:
        """Start a container with the model in it. Raises LoadFailed."""
        place = replace(self._place, model=model.folder, instance=self._name())
        try:
            async with asyncio.timeout(timeout_s):
                container = await begin(self._make, place, self._terms)
        except StartFailed as error:
            self._on_failed(str(error))
            raise LoadFailed(str(error)) from error
        except TimeoutError:
            raise LoadFailed(f"the container did not start within {timeout_s:g} s") from None
        self._sizes[container] = 1
        tenant = self._tenant(container)
        self._tasks.begin(self._see_off(container, tenant))
        await self.measure()
        return tenant

    async def measure(self) -> None:
        """Look what it takes now."""
        for container in list(self._sizes):
            taken = await container.runner.memory_bytes()
            if taken and container in self._sizes:
                self._sizes[container] = taken

    async def close(self) -> None:
        """End what there is. May be called twice."""
        grace_s = self._terms.limits.stop_timeout_s
        await asyncio.gather(*(self._end(container, grace_s) for container in list(self._sizes)))
        self._tasks.cancel()

    def _name(self) -> str:
        """The instance's, and for a newer version beside the one that serves another."""
        used = {container.name for container in self._sizes}
        numbers = itertools.count(2)
        name = self._place.instance
        while name in used:
            name = f"{self._place.instance}-{next(numbers)}"
        return name

    def _tenant(self, container: Container) -> Tenant:
        limits = self._terms.limits

        def size() -> int:
            return self._sizes.get(container, 0)

        async def leave(_: Tenant) -> int:
            return await self._end(container, limits.stop_timeout_s)

        return Tenant(
            container, INVOCATIONS, limits.response_bytes_max, size, leave, outlives_late=True
        )

    async def _see_off(self, container: Container, tenant: Tenant) -> None:
        tenant.end(by_container(await container.over()))

    async def _end(self, container: Container, grace_s: float) -> int:
        """Stop a container, once; what it took."""
        if container not in self._sizes:
            return 0
        task = self._ending.get(container)
        if task is None:
            task = self._ending[container] = self._tasks.begin(self._stop(container, grace_s))
        return await asyncio.shield(task)

    async def _stop(self, container: Container, grace_s: float) -> int:
        await container.end(grace_s)
        del self._ending[container]
        return self._sizes.pop(container)
