"""The server's side of one connection: requests are answered one after the other, in order."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from typing import Protocol, cast

from modelplex.http.body import Body
from modelplex.http.errors import BadMessage, BodyTimeout, BodyTooLarge, ConnectionLost
from modelplex.http.express import Express, Intake, Reply
from modelplex.http.heads import Heads
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
_INTAKE_MIN = 64 * 1024  # bytes of a body still to come: from here on they pass by the parser
_LINGER_S = 5.0  # a client that is still sending gets so long to read its answer


class Host(Protocol):
    """The server as its connections see it."""

    handler: Handler
    express: Express | None
    limits: ServerLimits

    def forget(self, connection: ServerConnection) -> None:
        """The connection is gone; its task is ending."""


class ServerConnection(asyncio.Protocol):
    """Reads requests, runs the handler on them in one task, writes the answers.

    A request that comes while nothing is unanswered may take the short way (`express`) instead.

    A client that closes its end, even one half of it, is gone: its handler is cancelled. HTTP
    clients do not half-close, and an abandoned request must not go on costing anything.
    """

    transport: asyncio.Transport
    _reader: RequestReader
    _outlet: Outlet
    task: asyncio.Task[None]

    def __init__(self, host: Host) -> None:
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Request | Refused] = deque()
        self._current: Request | None = None
        self._arrival: asyncio.Future[None] | None = None
        self.closing = False  # the next answer is the last
        self._reply: Reply | None = None  # of the express request under way
        self._intake: Intake | None = None
        self._heads = Heads()
        self._body_paused = False
        self._reading_paused = False
        self._deaf = False  # what still comes is thrown away
        self.gone = False
        self._turns = 0  # requests begun and ended
        self._seen: object = None  # what `expire` saw last,
        self._since = 0.0  # and since when

    # -- asyncio's calls -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._outlet = Outlet(self.transport)
        peer = transport.get_extra_info("peername")
        self.peer = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "unix"
        host = self._host
        self._reader = RequestReader(host.limits, self, express=host.express is not None)
        self.task = self._loop.create_task(self._serve())

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        found = self._heads.find(data)  # a request as this client has sent before
        if found is not None and (reply := self._take(found[0])) is not None:
            reply.receive(data[found[1] :])
            return
        reader = self._reader
        try:
            reader.feed(data)
        except Refused as refused:
            self._refuse(refused)
            return
        self._heads.learn(data)
        if reader.ended:
            self._deaf = reader.body is None
        elif reader.reply is not None:
            self._gather(reader.reply.request.length or 0)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        if self._reply is not None:
            self._reply.lose()
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
        """Ends what has lasted too long; called by the server every now and then.

        A look at what has changed since the last call, so that requests need no bookkeeping.
        """
        phase, limit_s = self._phase()
        seen = phase, self._turns, self.transport.get_write_buffer_size()
        if seen != self._seen:
            self._seen, self._since = seen, now
        elif now - self._since > limit_s:
            self._overdue(phase)

    def _phase(self) -> tuple[str, float]:
        """What the connection is doing, and how long it may."""
        limits = self._host.limits
        if self._outlet.paused or self.transport.is_closing():
            return "writing", limits.write_timeout_s
        if self._deaf:
            return "ending", math.inf
        if self._reader.in_head or self._receiving:
            return "reading", limits.request_read_timeout_s
        return ("answering", math.inf) if self._busy else ("idle", limits.idle_timeout_s)

    def _overdue(self, phase: str) -> None:
        match phase:
            case "writing":
                log.info("http.slow_reader", extra={"timeout_s": self._host.limits.write_timeout_s})
                self.transport.abort()
            case "reading":
                self._refuse(Refused(408, "the request did not arrive in time"))
            case _:
                self.transport.close()

    @property
    def _receiving(self) -> bool:
        """Whether an express request's body is arriving."""
        return self._reply is not None and self._reply.waiting

    @property
    def _busy(self) -> bool:
        """Whether a request is unanswered."""
        return self._current is not None or self._reply is not None or bool(self._queue)

    def stop(self) -> None:
        """Closes a connection that is answering nothing; others close after their answer."""
        self.closing = True
        if not self._busy:
            self.transport.close()

    def abort(self) -> None:
        """Closes it now; connection_lost follows and cancels the handler."""
        self.transport.abort()

    # -- calls of the reader and of bodies -------------------------------------------------------

    def pause_body(self) -> None:
        self._body_paused = True
        self._update_reading()

    def resume_body(self) -> None:
        self._body_paused = False
        self._update_reading()

    def body_wanted(self) -> None:
        """The handler waits for a body: the client may be waiting for permission to send it."""
        request = self._current if self._reply is None else self._reply.request
        if request is None or request.http10 or self.gone or request.length == 0:
            return
        if first(request.headers, b"expect").lower() == b"100-continue":
            request.headers = [h for h in request.headers if h[0] != b"expect"]
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def interim(self, status: int, headers: list[Header]) -> None:
        self._outlet.write(encode_head(status_line(status), headers))
        await self._outlet.drain()

    def deliver(self, request: Request) -> None:
        if len(self._queue) >= _PIPELINED_MAX:
            raise Refused(400, f"more than {_PIPELINED_MAX} requests sent ahead of their answers")
        self._turns += 1
        self._push(request)
        if len(self._queue) > _QUEUE_PAUSE:
            self._update_reading()

    def _refuse(self, refused: Refused) -> None:
        """Answered after all requests that came before."""
        log.info("http.refused", extra={"status": refused.status, "reason": str(refused)})
        self._deaf = True
        self._reader.abort(BadMessage(str(refused)))
        self._drop()
        self._push(refused)

    def _push(self, item: Request | Refused) -> None:
        self._queue.append(item)
        self._wake()

    def _wake(self) -> None:
        if self._reply is None and self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def _update_reading(self) -> None:
        pause = (self._body_paused or len(self._queue) > _QUEUE_PAUSE) and not self._deaf
        if pause != self._reading_paused and not self.transport.is_closing():
            self._reading_paused = pause
            if pause:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    # -- the short way ---------------------------------------------------------------------------

    def offer(self, request: Request) -> Reply | None:
        reply = self._take(request)
        self._heads.begin(request, express=reply is not None)
        return reply

    def _take(self, request: Request) -> Reply | None:
        if self._reply is not None or self._current is not None or self._queue:
            return None
        express = self._host.express
        try:
            receiver = None if express is None or self._outlet.paused else express(request)
        except Exception:  # the handler will tell the client
            log.exception("http.express_failed", extra={"target": request.target})
            return None
        if receiver is None:
            return None
        self._turns += 1
        self._reply = reply = Reply()  # without a constructor: half the time
        reply.gone = False
        reply.line = self
        reply.receiver = receiver
        reply.request = request
        return reply

    def answered(self, *, last: bool) -> None:
        self._turns += 1
        if last:
            self.transport.close()  # the reply stays: nothing else begins
            return
        self._reply = None
        if self._queue:
            self._wake()

    def _gather(self, length: int) -> None:
        """Has what is still to come of a large body read past the parser."""
        reader = self._reader
        if length - reader.body_bytes >= _INTAKE_MIN:
            pieces, reader.pieces = reader.pieces, []
            self._intake = Intake(self.transport, self, length, self._gathered)
            self._intake.enter(b"".join(pieces))

    def _gathered(self, body: bytearray) -> None:
        reply = self._reply
        self._intake = None
        self._reader.skip()
        self._heads.realign()
        if reply is not None:
            self._deaf = not reply.request.keep_alive
            reply.receive(body)

    def _drop(self) -> None:
        """The body of an express request does not arrive in time."""
        if self._receiving:
            self._reply = None
        if self._intake is not None:
            self._intake.leave()
            self._intake = None

    # -- the task --------------------------------------------------------------------------------

    async def _serve(self) -> None:
        try:
            while await self._answer(await self._next()):
                pass
        except ConnectionLost:
            self.transport.abort()
        except Exception:
            log.exception("http.connection_failed")
            self.transport.abort()
        finally:
            self.transport.close()

    async def _next(self) -> Request | Refused:
        if not self._queue or self._reply is not None:
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
            keep = await send(self._outlet, item, response, last=self.closing)
        finally:
            self._current = None
            self._turns += 1
        if not item.body.complete:
            await self._linger()
        return keep and not self.closing

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
        if not self.transport.is_closing():
            if self.transport.can_write_eof():
                self.transport.write_eof()
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
