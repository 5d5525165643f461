"""Responses out: the server's side of writing, which waits for clients that read slowly."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterable

from modelplex.http.errors import ConnectionLost
from modelplex.http.messages import (
    Data,
    Header,
    Request,
    Response,
    encode_head,
    first,
    status_line,
)

log = logging.getLogger(__name__)

_JOIN_MAX = 64 * 1024  # bytes; a body up to this is copied behind its head: one buffer, one write
_HIGH_WATER = 256 * 1024  # bytes not yet taken by the kernel: the writer waits
_BODILESS = frozenset((204, 304))


class _Broken(Exception):
    """A streamed body that is not as long as its Content-Length said."""


class ResponseWriter:
    """Writes one connection's responses. `deadline` is when the server should give up on it."""

    def __init__(self, transport: asyncio.Transport, timeout_s: float) -> None:
        """`timeout_s`: how long a client may take no bytes."""
        self.deadline = math.inf
        self._transport = transport
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._drained: asyncio.Future[None] | None = None
        self._paused = False
        self._lost = False
        transport.set_write_buffer_limits(high=_HIGH_WATER)

    def pause(self) -> None:
        """The write buffer is full."""
        self._paused = True

    def resume(self) -> None:
        """The write buffer has room again."""
        self._paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def lose(self) -> None:
        """The connection is gone: whoever waits for room is told by ConnectionLost."""
        self._lost = True
        self.resume()

    def close(self) -> None:
        """Closes when everything is written, or at the deadline."""
        self.deadline = self._loop.time() + self._timeout_s
        self._transport.close()

    async def interim(self, status: int, headers: list[Header]) -> None:
        """Writes a 1xx response."""
        self._transport.write(encode_head(status_line(status), headers))
        await self._drain()

    async def send(self, request: Request, response: Response, *, last: bool) -> bool:
        """Writes a response; True if the connection can take another request.

        `last`: this one shall be the last in any case. A streamed body that fails half-way aborts
        the connection, which is how the client learns of it.
        """
        keep = request.keep_alive and not last
        body = response.body
        if isinstance(body, (bytes, bytearray, memoryview)):
            keep = keep and request.body.complete
            self._send_whole(request, response, body, keep)
        else:
            try:
                await self._send_stream(request, response, body, keep)
            finally:
                await _release(body)
            keep = keep and request.body.complete and not request.http10
        if self._paused:
            await self._drain()
        return keep and not self._lost

    def _send_whole(self, request: Request, response: Response, body: Data, keep: bool) -> None:
        headers = response.headers
        own = request.method == "HEAD" and first(headers, b"content-length")
        if not own and response.status not in _BODILESS:
            headers = [h for h in headers if h[0] != b"content-length"]
            headers.append((b"content-length", b"%d" % len(body)))
        head = _head(response.status, headers, keep)
        if request.method == "HEAD":
            body = b""
        if len(body) <= _JOIN_MAX:
            self._transport.write(head + body)
        else:
            self._transport.writelines([head, body])

    async def _send_stream(
        self, request: Request, response: Response, body: AsyncIterable[bytes], keep: bool
    ) -> None:
        headers = response.headers
        length = first(headers, b"content-length")
        chunked = not length and not request.http10
        if chunked and response.status not in _BODILESS:
            headers = [*headers, (b"transfer-encoding", b"chunked")]
        self._transport.write(_head(response.status, headers, keep))
        if request.method == "HEAD" or response.status in _BODILESS:
            return
        try:
            if chunked:
                await self._send_chunks(body)
            else:
                await self._send_pieces(body, int(length) if length else None)
        except ConnectionLost:
            self._transport.abort()
            raise
        except Exception as error:
            if error is not request.body.error:
                log.exception("http.stream_failed", extra={"target": request.target})
            self._transport.abort()

    async def _send_chunks(self, body: AsyncIterable[bytes]) -> None:
        async for piece in body:
            if piece:
                self._transport.writelines([b"%x\r\n" % len(piece), piece, b"\r\n"])
                await self._drain()
        self._transport.write(b"0\r\n\r\n")

    async def _send_pieces(self, body: AsyncIterable[bytes], length: int | None) -> None:
        sent = 0
        async for piece in body:
            sent += len(piece)
            if length is not None and sent > length:
                raise _Broken(f"the body is longer than its Content-Length of {length} bytes")
            self._transport.write(piece)
            await self._drain()
        if length is not None and sent < length:
            raise _Broken(f"the body has {sent} bytes, its Content-Length said {length}")

    async def _drain(self) -> None:
        if self._paused and not self._lost:
            self.deadline = self._loop.time() + self._timeout_s
            self._drained = self._loop.create_future()
            try:
                await self._drained
            finally:
                self._drained = None
                self.deadline = math.inf
        if self._lost:
            raise ConnectionLost("the client went away", sent=True)


def _head(status: int, headers: list[Header], keep: bool) -> bytes:
    if not keep:
        headers = [*headers, (b"connection", b"close")]
    return encode_head(status_line(status), headers)


async def _release(body: AsyncIterable[bytes]) -> None:
    """Lets go of what a stream holds, whether or not it was read to its end."""
    for name in ("discard", "aclose"):
        if (release := getattr(body, name, None)) is not None:
            await release()
