"""An answer that its client is slow to take, and its place in the room of all bodies."""

from __future__ import annotations

import asyncio
import logging

from modelplex.http.room import RATE_MIN, Room

log = logging.getLogger(__name__)


class Unsent:
    """Counted whole, as its buffer lies there whole until the last byte of it is taken."""

    __slots__ = ("_claim", "_room", "_size", "_transport")

    def __init__(self, transport: asyncio.Transport, room: Room) -> None:
        """What the transport holds now. It is counted until `close`."""
        self._transport = transport
        self._size = size = transport.get_write_buffer_size()
        self._room = room
        self._claim = room.open(self, size, asyncio.get_running_loop().time())
        room.take(self._claim, size)

    def close(self) -> None:
        """The client has taken it, or never will."""
        self._room.close(self._claim, asyncio.get_running_loop().time())

    # -- calls of the room -----------------------------------------------------------------------

    def moved(self) -> int:
        return self._size - self._transport.get_write_buffer_size()

    def proceed(self) -> None:
        """It never waits for room."""

    def evict(self, *, slow: bool) -> None:
        log.info("http.slow_reader", extra={"bytes_per_s_min": RATE_MIN})
        self._transport.abort()
