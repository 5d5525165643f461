"""What a client knows of one request on its way: its bounds, its response, its exchange."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from modelplex.http.body import Body
from modelplex.http.messages import Header, first


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """The bounds of a client's pool; sizes in bytes, times in seconds."""

    connections_max: int = 256
    waiters_max: int = 4096  # requests waiting for a free connection; more: ConnectFailed
    connect_timeout_s: float = 5.0  # for a connection, and for a free place in the pool
    idle_timeout_s: float = 30.0  # an unused connection is closed; less than the server's
    response_timeout_s: float = 900.0  # until the response's headers, unless the call says less
    body_timeout_s: float = 60.0  # for the next piece of a response's body
    headers_bytes_max: int = 64 * 1024


@dataclass(slots=True, eq=False)
class ClientResponse:
    """A response whose headers are here and whose body may still be arriving.

    Read it to its end or `discard` it: until then it holds its connection.
    """

    status: int
    headers: list[Header]
    body: Body
    abort: Callable[[], None]  # of its connection

    def header(self, name: bytes, default: bytes = b"") -> bytes:
        """The first header of that (lower-case) name."""
        return first(self.headers, name, default)

    async def read(self, limit: int) -> bytes:
        """The whole body, at most `limit` bytes: else BodyTooLarge and the connection is closed."""
        try:
            return await self.body.read(limit)
        finally:
            await self.discard()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self.body:
                yield piece
        finally:
            await self.discard()

    async def discard(self) -> None:
        """Wants no more of the body; closes the connection if it has not all arrived."""
        if not self.body.complete:
            self.abort()


@dataclass(slots=True)
class Exchange:
    """One request on its way and what is known of its response."""

    head: asyncio.Future[ClientResponse]
    timeout_s: float  # until `head`
    bodiless: bool  # a HEAD: the response ends with its headers
    sender: asyncio.Task[None] | None = None
    status: int = 0
    headers: list[Header] = field(default_factory=list)
    head_bytes: int = 0
    body: Body | None = None
    answered: bool = False  # the response is complete

    def fail(self, error: Exception) -> None:
        """Tells whoever waits for the response, or reads its body."""
        if not self.head.done():
            self.head.set_exception(error)
        if self.body is not None:
            self.body.fail(error)
