"""The server's side of one connection: requests are answered one after the other, in order."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from typing import Protocol, cast

from modelplex.http.body import Body
from modelplex.http.errors import BadMessage, BodyTimeout, BodyTooLarge, ConnectionLost
from modelplex.http.messages import (
    Handler,
    Header,
    Request,
    Response,
    encode_head,
    explain,
    first,
    status_line,
)
from modelplex.http.outlet import Outlet
from modelplex.http.reading import Refused, RequestReader, ServerLimits
from modelplex.http.writing import send

log = logging.getLogger(__name__)

_PIPELINED_MAX = 256  # requests a client may send ahead of their answers
_QUEUE_PAUSE = 16  # requests waiting on one connection: reading from it stops
_LINGER_S = 5.0  # a client that is still sending gets so long to read its answer


class Host(Protocol):
    """The server as its connections see it."""

    handler: Handler
    limits: ServerLimits
    closing: bool

    def forget(self, connection: ServerConnection) -> None:
        """The connection is gone; its task is ending."""


class ServerConnection(asyncio.Protocol):
    """Reads requests, runs the handler on them in one task, writes the answers.

    A client that closes its end, even one half of it, is gone: its handler is cancelled. HTTP
    clients do not half-close, and an abandoned request must not go on costing anything.
    """

    _transport: asyncio.Transport
    _reader: RequestReader
    _outlet: Outlet
    task: asyncio.Task[None]

    def __init__(self, host: Host) -> None:
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Request | Refused] = deque()
        self._current: Request | None = None
        self._arrival: asyncio.Future[None] | None = None
        self._body_paused = False
        self._reading_paused = False
        self._timing_head = False
        self._deaf = False  # what still comes is thrown away
        self.gone = False
        self._read_deadline = self._loop.time() + host.limits.idle_timeout_s

    # -- asyncio's calls -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        limits = self._host.limits
        self._outlet = Outlet(self._transport, limits.write_timeout_s)
        peer = transport.get_extra_info("peername")
        self.peer = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "unix"
        self._reader = RequestReader(limits, self)
        self.task = self._loop.create_task(self._serve())

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        try:
            self._reader.feed(data)
        except Refused as refused:
            self._refuse(refused)
            return
        self._deaf = self._reader.ended and self._reader.body is None
        if self._reader.in_head and not self._timing_head:
            self._timing_head = True
            self._read_deadline = self._loop.time() + self._host.limits.request_read_timeout_s

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self._reader.abort(ConnectionLost("the client went away", sent=True))
        self._outlet.lose()
        self.task.cancel()
        self._host.forget(self)

    def pause_writing(self) -> None:
        self._outlet.pause()

    def resume_writing(self) -> None:
        self._outlet.resume()

    # -- the server's calls ----------------------------------------------------------------------

    def expire(self, now: float) -> None:
        """Ends what has lasted too long; called by the server every now and then."""
        if now > self._outlet.deadline:
            log.info("http.slow_reader", extra={"timeout_s": self._host.limits.write_timeout_s})
            self._transport.abort()
        elif now > self._read_deadline:
            self._read_deadline = math.inf
            if self._reader.in_head:
                self._refuse(Refused(408, "the request did not arrive in time"))
            else:
                self._outlet.close()

    def stop(self) -> None:
        """Closes a connection that is answering nothing; others close after their answer."""
        if self._current is None and not self._queue:
            self._outlet.close()

    def abort(self) -> None:
        """Closes it now; connection_lost follows and cancels the handler."""
        self._transport.abort()

    # -- calls of the reader and of bodies -------------------------------------------------------

    def pause_body(self) -> None:
        self._body_paused = True
        self._update_reading()

    def resume_body(self) -> None:
        self._body_paused = False
        self._update_reading()

    def body_wanted(self) -> None:
        """The handler waits for a body: the client may be waiting for permission to send it."""
        request = self._current
        if request is None or self.gone or request.http10:
            return
        if first(request.headers, b"expect").lower() == b"100-continue":
            request.headers = [h for h in request.headers if h[0] != b"expect"]
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def interim(self, status: int, headers: list[Header]) -> None:
        self._outlet.write(encode_head(status_line(status), headers))
        await self._outlet.drain()

    def deliver(self, request: Request) -> None:
        if len(self._queue) >= _PIPELINED_MAX:
            raise Refused(400, f"more than {_PIPELINED_MAX} requests sent ahead of their answers")
        self._timing_head = False
        self._read_deadline = math.inf
        self._push(request)
        if len(self._queue) > _QUEUE_PAUSE:
            self._update_reading()

    def _refuse(self, refused: Refused) -> None:
        """Answered after all requests that came before."""
        log.info("http.refused", extra={"status": refused.status, "reason": str(refused)})
        self._deaf = True
        self._reader.abort(BadMessage(str(refused)))
        self._push(refused)

    def _push(self, item: Request | Refused) -> None:
        self._queue.append(item)
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def _update_reading(self) -> None:
        pause = (self._body_paused or len(self._queue) > _QUEUE_PAUSE) and not self._deaf
        if pause != self._reading_paused and not self._transport.is_closing():
            self._reading_paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    # -- the task --------------------------------------------------------------------------------

    async def _serve(self) -> None:
        try:
            while await self._answer(await self._next()):
                pass
        except ConnectionLost:
            self._transport.abort()
        except Exception:
            log.exception("http.connection_failed")
            self._transport.abort()
        finally:
            self._outlet.close()

    async def _next(self) -> Request | Refused:
        if not self._queue:
            if not self._timing_head:
                self._read_deadline = self._loop.time() + self._host.limits.idle_timeout_s
            self._arrival = self._loop.create_future()
            await self._arrival
        item = self._queue.popleft()
        if self._reading_paused:
            self._update_reading()
        return item

    async def _answer(self, item: Request | Refused) -> bool:
        """Answers one request; whether there may be another."""
        if isinstance(item, Refused):
            request = Request("GET", b"*", [], Body.of(b""), "")
            await send(self._outlet, request, explain(item.status, str(item)), last=True)
            await self._linger()
            return False
        self._current = item
        try:
            response = await self._handle(item)
            keep = await send(self._outlet, item, response, last=self._host.closing)
        finally:
            self._current = None
        if not item.body.complete:
            await self._linger()
        return keep and not self._host.closing

    async def _handle(self, request: Request) -> Response:
        try:
            return await self._host.handler(request)
        except asyncio.CancelledError:
            if self.task.cancelling():
                raise
            log.exception("http.handler_failed", extra={"target": request.target})
        except Exception as error:
            if error is request.body.error:
                return _body_failure(error)
            log.exception("http.handler_failed", extra={"target": request.target})
        return explain(500, "internal error; the log of this process has its traceback")

    async def _linger(self) -> None:
        """Lets the client finish sending, for a while, so that it reads its answer.

        Closing a socket with unread bytes resets it, and the reset can overtake the answer.
        `connection_lost` cancels the wait.
        """
        self._deaf = True
        self._update_reading()
        if not self._transport.is_closing():
            self._transport.write_eof()
            await asyncio.sleep(_LINGER_S)


def _body_failure(error: Exception) -> Response:
    """The answer for a handler that let a failure of its request's body through."""
    match error:
        case BodyTooLarge():
            return explain(413, str(error))
        case BodyTimeout():
            return explain(408, str(error))
        case _:
            return explain(400, str(error))
