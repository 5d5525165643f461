"""What gateways know of the fleet: a stream of versions, each whole, the newest at once.

Until control has heard from the instances that run already, there is no snapshot: a gateway that
asks a control that has just been restarted waits those milliseconds, and goes on with its last one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

_HEARTBEAT_S = 20.0  # the newest version again, so that a reader can tell silence from death


class Snapshots:
    """The newest snapshot and everyone who follows it."""

    def __init__(self) -> None:
        self.endpoints: dict[str, Any] | None = None
        self._version = 0
        self._next = asyncio.Event()

    def publish(self, endpoints: dict[str, Any]) -> None:
        """Make these the newest endpoints; nothing happens if nothing changed."""
        if endpoints == self.endpoints:
            return
        self.endpoints = endpoints
        self._version += 1
        self._next.set()
        self._next = asyncio.Event()

    async def newest(self) -> bytes:
        """The newest snapshot as one line of JSON; the first one is waited for."""
        while self.endpoints is None:
            await self._next.wait()
        document = {"version": self._version, "endpoints": self.endpoints}
        return json.dumps(document, separators=(",", ":")).encode() + b"\n"

    async def follow(self) -> AsyncIterator[bytes]:
        """The newest line, then one per change; a reader that is slow skips what is outdated."""
        while True:
            line = await self.newest()
            changed = self._next
            yield line
            try:
                async with asyncio.timeout(_HEARTBEAT_S):
                    await changed.wait()
            except TimeoutError:
                continue
