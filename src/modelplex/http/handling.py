"""The long way of requests: one task for those that wait on a connection, which ends with them."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Protocol

from modelplex.http.body import Body
from modelplex.http.errors import BodyRefused, BodyTimeout, BodyTooLarge, ConnectionLost
from modelplex.http.messages import Handler, Request, Response, explain
from modelplex.http.outlet import Outlet
from modelplex.http.reading import Refused
from modelplex.http.room import Room
from modelplex.http.writing import LARGE, NO_ROOM, refusal, send

log = logging.getLogger(__name__)

_LINGER_S = 5.0  # a client that is still sending gets so long to read its answer


class Line(Protocol):
    """The connection as its task sees it."""

    transport: asyncio.Transport
    outlet: Outlet
    closing: bool  # the next answer is the last

    @property
    def handler(self) -> Handler:
        """Whose requests these are."""

    @property
    def room(self) -> Room:
        """Of all bodies."""

    def taken(self) -> None:
        """A request has left the queue."""

    def handled(self) -> None:
        """A request is answered."""

    def deafen(self) -> None:
        """What still comes is thrown away."""

    def rested(self) -> None:
        """No request is left; the task ends."""


class Handling:
    """Requests that wait for the handler on one connection, answered one by one, in order."""

    __slots__ = ("_line", "current", "queue", "task")

    def __init__(self, line: Line) -> None:
        self._line = line
        self.queue: deque[Request | Refused] = deque()
        self.current: Request | None = None
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to answer, unless it has."""
        if self.task is None:
            self.task = asyncio.get_running_loop().create_task(self._serve())

    async def _serve(self) -> None:
        line, keep = self._line, True
        try:
            while keep and self.queue:
                item = self.queue.popleft()
                line.taken()
                keep = await self._answer(item)
        except ConnectionLost:
            line.transport.abort()
        except Exception:
            log.exception("http.connection_failed")
            line.transport.abort()
        except BaseException:
            line.transport.close()
            raise
        if keep and not line.closing:
            line.rested()
        else:
            line.transport.close()

    async def _answer(self, item: Request | Refused) -> bool:
        """Answers one request; whether there may be another."""
        line = self._line
        if isinstance(item, Refused):
            request = Request("GET", b"*", [], Body.of(b""), "")
            await send(line.outlet, request, refusal(item.status, str(item)), last=True)
            await self._linger()
            return False
        self.current = item
        try:
            response = self._fitting(await self._handle(item))
            keep = await send(line.outlet, item, response, last=line.closing)
        finally:
            self.current = None
            line.handled()
        if not item.body.complete:
            await self._linger()
        return keep and not line.closing

    async def _handle(self, request: Request) -> Response:
        try:
            return await self._line.handler(request)
        except asyncio.CancelledError:
            if self.task is not None and self.task.cancelling():
                raise
            log.exception("http.handler_failed", extra={"target": request.target})
        except Exception as error:
            if error is request.body.error:
                return _body_failure(error)
            log.exception("http.handler_failed", extra={"target": request.target})
        return explain(500, "internal error; the log of this process has its traceback")

    def _fitting(self, response: Response) -> Response:
        """The response, or in its place that there is no room for it."""
        body = response.body
        whole = isinstance(body, (bytes, bytearray, memoryview)) and len(body) > LARGE
        if whole and not self._line.room.fits(len(body)):  # type: ignore[arg-type]
            return refusal(503, NO_ROOM)
        return response

    async def _linger(self) -> None:
        """Lets the client finish sending, for a while, so that it reads its answer.

        Closing a socket with unread bytes resets it, and the reset can overtake the answer.
        `connection_lost` cancels the wait.
        """
        self._line.deafen()
        transport = self._line.transport
        if not transport.is_closing():
            if transport.can_write_eof():
                transport.write_eof()
            await asyncio.sleep(_LINGER_S)


def _body_failure(error: Exception) -> Response:
    """The answer for a handler that let a failure of its request's body through."""
    match error:
        case BodyTooLarge():
            return explain(413, str(error))
        case BodyTimeout():
            return explain(408, str(error))
        case BodyRefused():
            return refusal(503, str(error))
        case _:
            return explain(400, str(error))
