"""A message's body while it arrives: buffered up to a mark, then the peer is made to wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from modelplex.http.errors import BodyRefused, BodyTimeout, BodyTooLarge
from modelplex.http.room import RATE_MIN, WAIT_S

HIGH_WATER = (
    256 * 1024
)  # bytes buffered and unread: reading from the socket stops until all is read


class Flow(Protocol):
    """The connection as a body sees it."""

    def pause_body(self) -> None:
        """More is buffered than should be."""

    def resume_body(self) -> None:
        """There is room again."""

    def grant(self, body: Body, filled: int, whole: int) -> int:
        """Up to how many bytes it may come while it is read whole; 0: `proceed` will tell."""

    def body_wanted(self) -> None:
        """Somebody waits for bytes that have not come: the moment for `100 Continue`."""


class Body:
    """The bytes of one message, read once: either whole by `read` or piece by piece by iterating.

    `length` is the Content-Length, None when the body is chunked or ends with the connection.
    `error` is what the reader was or will be told: ConnectionLost, BadMessage, BodyTimeout or
    BodyTooLarge.
    """

    def __init__(self, length: int | None, flow: Flow | None, timeout_s: float) -> None:
        """`timeout_s`: the longest wait for a whole `read`, or for the next piece."""
        self.length = length
        self.complete = False
        self.error: Exception | None = None
        self._flow = flow
        self._timeout_s = timeout_s
        self._chunks: list[bytes] = []
        self._size = 0
        self._paused = False
        self._wake_above = 0
        self._granted = HIGH_WATER
        self._waiter: asyncio.Future[None] | None = None

    @classmethod
    def of(cls, data: bytes) -> Body:
        """A body that is already here."""
        body = cls(len(data), None, 0.0)
        if data:
            body.feed(data)
        body.finish()
        return body

    # -- the reader's side -----------------------------------------------------------------------

    def take(self) -> bytes:
        """Everything that is buffered, without a copy when it is one piece."""
        chunks, self._chunks, self._size = self._chunks, [], 0
        self._resume()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def read(self, limit: int) -> bytes:
        """All of it, at most `limit` bytes: else BodyTooLarge, at once if the length is known."""
        if self.length is not None and self.length > limit:
            raise self._fail(BodyTooLarge(limit))
        if not self.complete:
            await self._arrival(limit)
        if self._size > limit:
            raise self._fail(BodyTooLarge(limit))
        return self.take()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            if self._chunks:
                yield self.take()
            elif self.complete:
                return
            else:
                await self._wait(asyncio.get_running_loop().time() + self._timeout_s)

    async def _arrival(self, limit: int) -> None:
        """Waits until the body is complete or above `limit`; one wake-up however many pieces."""
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        self._wake_above = limit
        while not self.complete and self._size <= limit:
            await self._wait(deadline)
        self._wake_above = 0

    async def _wait(self, deadline: float) -> None:
        if self.error is None:
            self._resume()
            if self._flow is not None:
                self._flow.body_wanted()
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            stalled = BodyTimeout(f"the body stopped arriving for {self._timeout_s:g} s")
            timer = loop.call_at(deadline, self.fail, stalled)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        if self.error is not None:
            raise self.error

    def _ask(self, flow: Flow) -> None:
        """More has come than there is room for so far."""
        whole = self._wake_above if self.length is None else self.length
        self._granted = flow.grant(self, self._size, whole)
        if not self._granted:
            self._pause(flow)

    def _pause(self, flow: Flow) -> None:
        self._paused = True
        flow.pause_body()

    # -- calls of the room -----------------------------------------------------------------------

    def moved(self) -> int:
        return self._size

    def proceed(self) -> None:
        if self._flow is not None:
            self._ask(self._flow)
            self._resume()

    def evict(self, *, slow: bool) -> None:
        if slow:
            self.fail(BodyTimeout(f"the body came slower than {RATE_MIN} bytes/s, room was short"))
        else:
            self.fail(BodyRefused(f"the body waited {WAIT_S:g} s for room in memory; try again"))

    def _resume(self) -> None:
        if self._paused and self._flow is not None:
            self._paused = False
            self._flow.resume_body()

    # -- the connection's side -------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Bytes have come."""
        self._chunks.append(data)
        self._size += len(data)
        if self._size > self._wake_above:
            self._wake()
            if self._size > HIGH_WATER and not self._paused and self._flow is not None:
                self._pause(self._flow)
        elif self._size > self._granted and not self._paused and self._flow is not None:
            self._ask(self._flow)

    def finish(self) -> None:
        """The last byte has come."""
        self.complete = True
        self._resume()  # what comes next is not this body's to hold back
        self._wake()

    def fail(self, error: Exception) -> None:
        """No more will come, and why; ignored if the body is complete."""
        if not self.complete:
            self._fail(error)
            self._wake()

    def _fail(self, error: Exception) -> Exception:
        if self.error is None:
            self.error = error
        return self.error

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
