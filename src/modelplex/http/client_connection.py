"""The client's side of one connection: one exchange at a time, kept alive between them."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import AsyncIterable, Callable
from typing import cast

import httptools

from modelplex.http.body import Body
from modelplex.http.errors import BadMessage, ConnectionLost
from modelplex.http.exchange import ClientLimits, ClientResponse, Exchange, OnInterim
from modelplex.http.messages import Data, Header, encode_head, first

_JOIN_MAX = 64 * 1024  # bytes; a body up to this is copied behind its head: one buffer, one write
_LINGER_S = 5.0  # a server that has answered gets so long to read the rest of the request
_HIGH_WATER = 256 * 1024  # bytes not yet taken by the kernel: the sender waits


class ClientConnection(asyncio.Protocol):
    """Sends a request, hands out its response, and says when it is free again.

    `on_free(connection)` is called when another exchange may begin, `on_lost(connection)` once
    when the connection is gone.
    """

    _transport: asyncio.Transport
    _unix: bool

    def __init__(
        self,
        limits: ClientLimits,
        on_free: Callable[[ClientConnection], None],
        on_lost: Callable[[ClientConnection], None],
    ) -> None:
        self._limits = limits
        self._on_free = on_free
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._exchange: Exchange | None = None
        self._drained: asyncio.Future[None] | None = None
        self._writing_paused = False
        self._gone = False
        self.idle_since = math.inf

    @property
    def usable(self) -> bool:
        """Whether a request may be written: nobody has closed it as far as can be seen."""
        return not self._gone and not self._transport.is_closing()

    def abort(self) -> None:
        """Closes the connection now; what it was doing fails with ConnectionLost."""
        self._transport.abort()

    async def exchange(
        self,
        method: str,
        target: bytes,
        headers: list[Header],
        body: Data | AsyncIterable[bytes],
        *,
        timeout_s: float,
        on_interim: OnInterim | None,
    ) -> ClientResponse:
        """Sends a request and returns when the response's headers are here.

        TimeoutError after `timeout_s`. Any failure, also a cancellation, ends the connection.
        """
        head = encode_head(b"%s %s HTTP/1.1" % (method.encode(), target), headers)
        exchange = Exchange(self._loop.create_future(), on_interim, method == "HEAD")
        self._exchange = exchange
        if isinstance(body, (bytes, bytearray, memoryview)):
            self._write_whole(head, body)
        else:
            self._transport.write(head)
            chunked = not first(headers, b"content-length")
            exchange.sender = self._loop.create_task(self._send(exchange, body, chunked))
        timer = self._loop.call_later(timeout_s, self._expire, exchange, timeout_s)
        try:
            return await exchange.head
        except BaseException:
            self._transport.abort()
            raise
        finally:
            timer.cancel()

    # -- sending ---------------------------------------------------------------------------------

    def _write_whole(self, head: bytes, body: Data) -> None:
        if len(body) <= _JOIN_MAX:
            self._transport.write(head + body if body else head)
        else:
            self._transport.writelines([head, body])

    async def _send(self, exchange: Exchange, body: AsyncIterable[bytes], chunked: bool) -> None:
        """The task that streams a request's body; its failure is the exchange's failure."""
        try:
            async for piece in body:
                if chunked and piece:
                    self._transport.writelines([b"%x\r\n" % len(piece), piece, b"\r\n"])
                else:
                    self._transport.write(piece)
                await self._drain()
            if chunked:
                self._transport.write(b"0\r\n\r\n")
        except Exception as error:
            self._fail(error)
            self._transport.abort()
        exchange.sender = None
        if exchange.answered:
            self._finish(exchange)

    async def _drain(self) -> None:
        if self._writing_paused and not self._gone:
            self._drained = self._loop.create_future()
            await self._drained
        if self._gone:
            raise ConnectionLost("the server went away", sent=True)

    def _expire(self, exchange: Exchange, timeout_s: float) -> None:
        if not exchange.head.done():
            exchange.head.set_exception(TimeoutError(f"no response within {timeout_s:g} s"))

    # -- asyncio's calls -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_HIGH_WATER)
        self._unix = transport.get_extra_info("socket").family == socket.AF_UNIX

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            self._transport.abort()  # nobody asked
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            reason = error.__context__ if isinstance(error.__context__, BadMessage) else error
            self._fail(BadMessage(f"the server's response is not valid HTTP/1.1: {reason}"))
            self._transport.abort()

    def eof_received(self) -> None:
        """The end of a body without a length; in any other place `connection_lost` tells."""
        exchange = self._exchange
        if exchange is None or exchange.body is None or exchange.body.length is not None:
            return
        if not first(exchange.headers, b"transfer-encoding"):
            exchange.body.finish()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone = True
        reason = str(exc) if exc is not None else "closed by the server"
        # A Unix socket reports a reset only if its peer closed it with bytes of ours unread.
        unread = self._unix and isinstance(exc, BrokenPipeError | ConnectionResetError)
        self._fail(ConnectionLost(f"the connection was lost: {reason}", sent=True, unread=unread))
        if self._exchange is not None and self._exchange.sender is not None:
            self._exchange.sender.cancel()
        self._wake()
        self._on_lost(self)

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._wake()

    def _wake(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _fail(self, error: Exception) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        if not exchange.head.done():
            exchange.head.set_exception(error)
        if exchange.body is not None:
            exchange.body.fail(error)

    # -- calls of the body -----------------------------------------------------------------------

    def pause_body(self) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_body(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def body_wanted(self) -> None:
        """Nothing to do: a server needs no permission to answer."""

    # -- httptools' calls ------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        exchange = self._exchange
        if exchange is None or exchange.answered:
            raise BadMessage("a response that nobody asked for")
        exchange.headers = []
        exchange.head_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        exchange = self._exchange
        if exchange is None or exchange.body is not None:
            return  # a trailer
        exchange.head_bytes += len(name) + len(value) + 4
        if exchange.head_bytes > self._limits.headers_bytes_max:
            raise BadMessage(f"its headers are longer than {self._limits.headers_bytes_max} bytes")
        exchange.headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        exchange = self._exchange
        assert exchange is not None
        exchange.status = self._parser.get_status_code()
        if exchange.interim:
            if exchange.on_interim is not None:
                exchange.on_interim(exchange.status, exchange.headers)
            return
        text = b"0" if exchange.bodiless else first(exchange.headers, b"content-length")
        length = int(text) if text else None
        exchange.body = Body(length, self, self._limits.body_timeout_s)
        response = ClientResponse(exchange.status, exchange.headers, exchange.body, self.abort)
        if exchange.bodiless:
            self._answered(exchange)
        if not exchange.head.done():
            exchange.head.set_result(response)

    def on_body(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is not None and exchange.body is not None:
            exchange.body.feed(data)

    def on_message_complete(self) -> None:
        exchange = self._exchange
        if exchange is not None and not exchange.interim and not exchange.answered:
            self._answered(exchange)

    def _answered(self, exchange: Exchange) -> None:
        assert exchange.body is not None
        exchange.answered = True
        exchange.body.finish()
        if exchange.sender is None:
            self._finish(exchange)
        else:
            self._loop.call_later(_LINGER_S, self._give_up, exchange)

    def _give_up(self, exchange: Exchange) -> None:
        """The server has answered long ago and does not take the rest of the request."""
        if self._exchange is exchange:
            self._transport.abort()

    def _finish(self, exchange: Exchange) -> None:
        """Both directions are done: the connection is free, or closes."""
        self._exchange = None
        if not self._parser.should_keep_alive():
            self._transport.close()
            return
        if exchange.bodiless:  # llhttp would wait for the body that a HEAD's answer announces
            self._parser = httptools.HttpResponseParser(self)
        self._on_free(self)
