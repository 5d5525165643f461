"""Models that a container has and the instance does not want: found, and unloaded.

They are there when a container starts that brings models of its own; after a load that was given up
and went on all the same; and after an unload that failed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from modelplex.instance.containers.container import Container
from modelplex.instance.containers.contract import UNKNOWN, Late, NoAnswer
from modelplex.settings import Settings

log = logging.getLogger(__name__)


class Strays:
    """Unloads models of one life of a container."""

    def __init__(
        self, container: Container, limits: Settings, wanted: Callable[[str], bool]
    ) -> None:
        """`wanted` says whether a model of that name is the instance's business."""
        self._container = container
        self._limits = limits
        self._wanted = wanted
        self._expected: dict[str, float] = {}  # until when they may still turn up

    async def reconcile(self) -> None:
        """Unload all that it has loaded and nobody wants."""
        try:
            names = [name async for name in self._container.contract.models()]
        except NoAnswer as error:
            log.warning("container.not_listed", extra={"reason": str(error)})
            return
        for name in names:
            if not self._wanted(name):
                log.info("container.stray", extra={"name": name})
                await self.remove(name)

    def expect(self, name: str) -> None:
        """It may turn up, for as long as a load may take."""
        now = asyncio.get_running_loop().time()
        self._expected[name] = now + self._limits.model_load_timeout_s

    async def remove(self, name: str) -> None:
        """Unload a model. One that stays is tried again; a container that says nothing is ended."""
        limit_s = self._limits.container_unload_timeout_s
        try:
            reply = await self._container.contract.unload(name, limit_s)
        except Late as error:
            self._container.condemn(str(error))
        except NoAnswer as error:
            self._note(name, str(error))
        else:
            if reply.good:
                self._expected.pop(name, None)
            elif reply.status != UNKNOWN:
                self._note(name, f"{reply.status} {reply.text}")

    async def chase(self) -> None:
        """For ever: unload those that were expected, as they turn up."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(self._limits.container_ping_interval_s)
            for name, until in list(self._expected.items()):
                if self._wanted(name) or clock() > until:
                    self._expected.pop(name, None)
                else:
                    await self.remove(name)

    def _note(self, name: str, reason: str) -> None:
        log.warning("container.not_unloaded", extra={"model_name": name, "reason": reason})
        self.expect(name)
