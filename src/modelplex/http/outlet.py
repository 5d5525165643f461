"""Bytes out, for both sides: bodies whole or streamed, no faster than the peer takes them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterable

from modelplex.http.errors import ConnectionLost
from modelplex.http.messages import Data

_JOIN_MAX = 64 * 1024  # bytes; a body up to this is copied behind its head: one buffer, one write
_HIGH_WATER = 256 * 1024  # bytes not yet taken by the kernel: the writer waits


class WrongLength(ValueError):
    """A streamed body that is not as long as its Content-Length said."""


class Outlet:
    """What one connection writes. `paused`: the peer takes less than there is to write."""

    __slots__ = ("_drained", "_transport", "lost", "paused")

    def __init__(self, transport: asyncio.Transport, unsent_max: int = _HIGH_WATER) -> None:
        """`unsent_max`: bytes that the kernel has not taken; with more, the writer waits."""
        self.lost = False
        self.paused = False
        self._transport = transport
        self._drained: asyncio.Future[None] | None = None
        transport.set_write_buffer_limits(high=unsent_max)

    def pause(self) -> None:
        """The write buffer is full."""
        self.paused = True

    def resume(self) -> None:
        """The write buffer has room again."""
        self.paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def lose(self) -> None:
        """The connection is gone: whoever waits for room is told by ConnectionLost."""
        self.lost = True
        self.resume()

    def write(self, head: bytes, body: Data = b"") -> None:
        """Writes without waiting; `drain` waits."""
        if len(body) <= _JOIN_MAX:
            self._transport.write(head + body if body else head)
        else:
            self._transport.writelines([head, body])

    async def stream(self, body: AsyncIterable[bytes], length: bytes, *, chunked: bool) -> None:
        """Writes a body as it comes; WrongLength unless it is as long as `length`, b"": any."""
        left = int(length) if length else math.inf
        async for piece in body:
            left -= len(piece)
            if left < 0:
                raise WrongLength(f"the body is longer than its Content-Length of {int(length)}")
            if not chunked:
                self._transport.write(piece)
            elif piece:
                self._transport.writelines([b"%x\r\n" % len(piece), piece, b"\r\n"])
            await self.drain()
            if self._transport.is_closing():  # a write failed; the loop says so when we let it run
                raise ConnectionLost("the peer went away", sent=True)
        if length and left:
            raise WrongLength(f"the body ends {left} bytes before its Content-Length")
        if chunked:
            self._transport.write(b"0\r\n\r\n")

    async def drain(self) -> None:
        """Waits until the peer has taken enough."""
        if self.paused and not self.lost:
            self._drained = asyncio.get_running_loop().create_future()
            try:
                await self._drained
            finally:
                self._drained = None
        if self.lost or self._transport.is_closing():  # it may learn of a broken one by writing
            raise ConnectionLost("the peer went away", sent=True)
