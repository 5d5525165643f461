"""The client's side of one connection: one exchange at a time, kept alive between them."""

from __future__ import annotations

import asyncio
import math
import socket
import sys
from collections.abc import AsyncIterable, Callable
from typing import cast

import httptools

from modelplex.http.body import Body
from modelplex.http.errors import BadMessage, ConnectionLost
from modelplex.http.exchange import ClientLimits, ClientResponse, Exchange
from modelplex.http.messages import Data, first
from modelplex.http.outlet import Outlet

_LINGER_S = 5.0  # a server that has answered gets so long to read the rest of the request


class ClientConnection(asyncio.Protocol):
    """Sends a request, hands out its response, and says when it is free again.

    `on_free(connection)` is called when another exchange may begin, `on_lost(connection)` once
    when the connection is gone.
    """

    _transport: asyncio.Transport
    _outlet: Outlet
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
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = math.inf

    @property
    def usable(self) -> bool:
        """Whether a request may be written: nobody has closed it as far as can be seen."""
        return not self._outlet.lost and not self._transport.is_closing()

    def abort(self) -> None:
        """Closes the connection now; what it was doing fails with ConnectionLost."""
        self._transport.abort()

    async def carry(
        self, exchange: Exchange, head: bytes, body: Data | AsyncIterable[bytes], length: bytes
    ) -> ClientResponse:
        """Sends a request and returns when the response's headers are here.

        `length` is its Content-Length, b"" for none: a streamed body is then sent in chunks.
        Any failure, also a cancellation, ends the connection.
        """
        self._exchange = exchange
        self._watch(exchange.timeout_s)
        if isinstance(body, (bytes, bytearray, memoryview)):
            self._outlet.write(head, body)
        else:
            self._outlet.write(head)
            exchange.sender = self._loop.create_task(self._send(exchange, body, length))
        try:
            return await exchange.head
        except BaseException:
            self._transport.abort()
            raise

    async def _send(self, exchange: Exchange, body: AsyncIterable[bytes], length: bytes) -> None:
        """The task that streams a request's body; its failure is the exchange's failure."""
        try:
            await self._outlet.stream(body, length, chunked=not length)
        except Exception as error:
            exchange.fail(error)
            self._transport.abort()
        exchange.sender = None
        if exchange.answered:
            self._finish(exchange)

    def _watch(self, delay_s: float) -> None:
        """Has `_ring` called in so long.

        One timer does for many requests: it is left alone until it rings, usually too early.
        """
        self._deadline = self._loop.time() + delay_s
        if self._timer is not None and self._timer.when() > self._deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(self._deadline, self._ring)

    def _ring(self) -> None:
        self._timer = None
        left_s = self._deadline - self._loop.time()
        exchange = self._exchange
        if left_s > 0:
            self._watch(left_s)
        elif exchange is None:
            self._transport.abort()  # unused for too long
        elif not exchange.head.done():
            late = TimeoutError(f"no response within {exchange.timeout_s:g} s")
            exchange.head.set_exception(late)

    # -- asyncio's calls -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._outlet = Outlet(self._transport)
        self._unix = transport.get_extra_info("socket").family == socket.AF_UNIX

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            self._transport.abort()  # nobody asked
            return
        if exchange.body is None:
            exchange.head_bytes += len(data)
        try:
            self._parser.feed_data(data)
            if exchange.body is None:
                self._check_size(exchange.head_bytes)
        except BadMessage as error:
            exchange.fail(error)
            self._transport.abort()
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            reason = error.__context__ if isinstance(error.__context__, BadMessage) else error
            exchange.fail(BadMessage(f"the server's response is not valid HTTP/1.1: {reason}"))
            self._transport.abort()

    def eof_received(self) -> None:
        """The end of a body without a length; in any other place `connection_lost` tells."""
        exchange = self._exchange
        if exchange is None or exchange.body is None or exchange.body.length is not None:
            return
        if not first(exchange.headers, b"transfer-encoding"):
            exchange.body.finish()

    def connection_lost(self, exc: Exception | None) -> None:
        self._outlet.lose()
        if self._timer is not None:
            self._timer.cancel()
        if (exchange := self._exchange) is not None:
            reason = str(exc) if exc is not None else "closed by the server"
            # A Unix socket reports a reset only if its peer closed it with bytes of ours unread.
            unread = self._unix and isinstance(exc, BrokenPipeError | ConnectionResetError)
            reason = f"the connection was lost: {reason}"
            exchange.fail(ConnectionLost(reason, sent=True, unread=unread))
            if exchange.sender is not None:
                exchange.sender.cancel()
        self._on_lost(self)

    def pause_writing(self) -> None:
        self._outlet.pause()

    def resume_writing(self) -> None:
        self._outlet.resume()

    # -- calls of the body -----------------------------------------------------------------------

    def pause_body(self) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_body(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def grant(self, body: Body, filled: int, whole: int) -> int:
        """All: whoever asked for an answer has a limit for it."""
        return sys.maxsize

    def body_wanted(self) -> None:
        """Nothing to do: a server needs no permission to answer."""

    # -- httptools' calls ------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        exchange = self._exchange
        if exchange is None or exchange.answered:
            raise BadMessage("a response that nobody asked for")
        exchange.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        exchange = self._exchange
        if exchange is None or exchange.body is not None:
            return  # a trailer
        exchange.headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        exchange = self._exchange
        assert exchange is not None
        exchange.status = self._parser.get_status_code()
        if exchange.head_bytes > self._limits.headers_bytes_max:  # though some of that is body
            self._check_size(sum(len(name) + len(value) + 4 for name, value in exchange.headers))
        if exchange.status < 200:
            exchange.head_bytes = 0
            return
        text = b"0" if exchange.bodiless else first(exchange.headers, b"content-length")
        length = int(text) if text else None
        exchange.body = Body(length, self, self._limits.body_timeout_s)
        response = ClientResponse(exchange.status, exchange.headers, exchange.body, self.abort)
        if exchange.bodiless:
            self._answered(exchange)
        if not exchange.head.done():
            exchange.head.set_result(response)

    def _check_size(self, head_bytes: int) -> None:
        if head_bytes > self._limits.headers_bytes_max:
            raise BadMessage(f"its headers are longer than {self._limits.headers_bytes_max} bytes")

    def on_body(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is not None and exchange.body is not None:
            exchange.body.feed(data)

    def on_message_complete(self) -> None:
        exchange = self._exchange
        if exchange is not None and exchange.body is not None and not exchange.answered:
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
        self._watch(self._limits.idle_timeout_s)
        self._on_free(self)
