"""What gateways know of the fleet: a stream of versions, each whole, the newest at once.

Until control has heard from the instances that run already, there is no snapshot: a gateway that
asks a control that has just been restarted waits those milliseconds, and goes on with its last one.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from modelplex.control.waiting import Changes

_HEARTBEAT_S = 20.0  # the newest version again, so that a reader can tell silence from death


class Snapshots:
    """The newest snapshot; `changes` rings at every one."""

    def __init__(self) -> None:
        self.endpoints: dict[str, Any] | None = None
        self.changes = Changes()
        self._version = 0
        self._over = False

    def publish(self, endpoints: dict[str, Any]) -> None:
        """Make these the newest endpoints; nothing happens if nothing changed."""
        if endpoints != self.endpoints:
            self.endpoints = endpoints
            self._version += 1
            self.changes.ring()

    async def newest(self) -> bytes:
        """The newest snapshot as one line of JSON; the first one is waited for."""
        await self.changes.hold(lambda: self.endpoints is None, None)
        document = {"version": self._version, "endpoints": self.endpoints}
        return json.dumps(document, separators=(",", ":")).encode() + b"\n"

    def end(self) -> None:
        """End every stream after its newest line: nobody has to wait for the next one any more."""
        self._over = True
        self.changes.ring()

    async def follow(self) -> AsyncIterator[bytes]:
        """The newest line, then one per change; a reader that is slow skips what is outdated."""
        while not self._over:
            line, version = await self.newest(), self._version
            yield line
            await self.changes.hold(partial(self._is_newest, version), _HEARTBEAT_S)

    def _is_newest(self, version: int) -> bool:
        return version == self._version and not self._over
