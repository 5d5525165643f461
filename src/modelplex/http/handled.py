"""A connection whose requests wait for the handler, and what is common to all ways of a request."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from modelplex.http.body import Body
from modelplex.http.express import Express, Reply
from modelplex.http.handling import Handling
from modelplex.http.messages import Handler, Request, first
from modelplex.http.outbox import Outbox
from modelplex.http.outlet import Outlet
from modelplex.http.reading import Refused, ServerLimits
from modelplex.http.room import Claim, Room
from modelplex.http.unsent import Unsent

_PIPELINED_MAX = 256  # requests a client may send ahead of their answers
_QUEUE_PAUSE = 16  # requests waiting on one connection: reading from it stops
_UNSENT_MAX = 64 * 1024  # bytes not taken by the client: more are counted, and the writer waits


class Host(Protocol):
    """The server as its connections see it."""

    handler: Handler
    express: Express | None
    limits: ServerLimits
    room: Room
    outbox: Outbox


class HandledConnection(asyncio.Protocol):
    """Its queue, its room, and how its answers leave; how requests come in is `connection.py`'s."""

    __slots__ = (
        *("_body_paused", "_claim", "_handling", "_host", "_reading_paused", "_reply", "_unsent"),
        *("closing", "deaf", "gone", "outlet", "transport", "turns"),
    )

    transport: asyncio.Transport
    outlet: Outlet

    def __init__(self, host: Host) -> None:
        self._host = host
        self._handling: Handling | None = None
        self._reply: Reply | None = None  # of the express request under way; all others wait
        self._claim: Claim | None = None  # what the body under way has of the room
        self._unsent: Unsent | None = None  # what of the answers was not taken yet
        self._body_paused = False
        self._reading_paused = False
        self.closing = False  # the next answer is the last
        self.deaf = False  # what still comes is thrown away
        self.gone = False
        self.turns = 0  # requests begun and ended

    @property
    def peer(self) -> str:
        """The client's address, "unix" where it has none."""
        peer = self.transport.get_extra_info("peername")
        return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "unix"

    @property
    def handler(self) -> Handler:
        return self._host.handler

    @property
    def room(self) -> Room:
        return self._host.room

    @property
    def task(self) -> asyncio.Task[None] | None:
        """Where the handler runs; None: nowhere."""
        return None if self._handling is None else self._handling.task

    @property
    def busy(self) -> bool:
        """Whether a request is unanswered."""
        return self._reply is not None or self._handling is not None

    # -- calls of asyncio and the server ---------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.outlet = Outlet(self.transport, _UNSENT_MAX)

    def pause_writing(self) -> None:
        self.outlet.pause()
        if self._unsent is None and not self.gone:
            self._unsent = Unsent(self.transport, self._host.room)

    def resume_writing(self) -> None:
        self._sent()
        self.outlet.resume()

    def stop(self) -> None:
        """Closes a connection that is answering nothing; others close after their answer."""
        self.closing = True
        if not self.busy:
            self.transport.close()

    def abort(self) -> None:
        """Closes it now; connection_lost follows and cancels the handler."""
        self.transport.abort()

    # -- calls of the inlet and of bodies --------------------------------------------------------

    def pause_body(self) -> None:
        self._body_paused = True
        self._update_reading()

    def resume_body(self) -> None:
        self._body_paused = False
        self._update_reading()

    def grant(self, body: Body, filled: int, whole: int) -> int:
        """Up to how many bytes a body that is read whole may come; 0: it has to wait."""
        room, now = self._host.room, asyncio.get_running_loop().time()
        if self._claim is None:
            self._claim = room.open(body, whole, now)
            room.take(self._claim, filled)
        return self._claim.held if room.grant(self._claim, filled, now) else 0

    def body_wanted(self) -> None:
        """The handler waits for a body: the client may be waiting for permission to send it."""
        current = None if self._handling is None else self._handling.current
        request = current if self._reply is None else self._reply.request
        if request is None or request.http10 or self.gone or request.length == 0:
            return
        if first(request.headers, b"expect").lower() == b"100-continue":
            request.headers = [h for h in request.headers if h[0] != b"expect"]
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def deliver(self, request: Request) -> None:
        if self._waiting >= _PIPELINED_MAX:
            raise Refused(400, f"more than {_PIPELINED_MAX} requests sent ahead of their answers")
        self.turns += 1
        self._push(request)
        if self.backed_up:
            self._update_reading()

    # -- the handler's requests ------------------------------------------------------------------

    @property
    def _waiting(self) -> int:
        return 0 if self._handling is None else len(self._handling.queue)

    @property
    def backed_up(self) -> bool:
        """Whether so many requests wait that reading stops."""
        return self._waiting > _QUEUE_PAUSE

    def _push(self, item: Request | Refused) -> None:
        if self._handling is None:
            self._handling = Handling(self)
        self._handling.queue.append(item)
        if self._reply is None:
            self._handling.start()

    def taken(self) -> None:
        if self._reading_paused:
            self._update_reading()

    def handled(self) -> None:
        self.turns += 1
        self._settle()

    def rested(self) -> None:
        self._handling = None

    def deafen(self) -> None:
        self.deaf = True
        self._update_reading()

    def _update_reading(self) -> None:
        pause = (self._body_paused or self.backed_up) and not self.deaf
        if pause != self._reading_paused and not self.transport.is_closing():
            self._reading_paused = pause
            if pause:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    def _settle(self) -> None:
        """What the body had of the room is free."""
        claim, self._claim = self._claim, None
        if claim is not None:
            self._host.room.close(claim, asyncio.get_running_loop().time())

    def _sent(self) -> None:
        """The client has taken its answer, or never will."""
        unsent, self._unsent = self._unsent, None
        if unsent is not None:
            unsent.close()
