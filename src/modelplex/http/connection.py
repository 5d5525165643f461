"""The server's side of one connection: requests are answered one after the other, in order.

Connections are many, and most of them idle. What only a busy one needs (a parser, a queue, a task)
is made when it is needed; an idle one keeps a few hundred bytes beside the event loop's own.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Protocol

from modelplex.http import arrivals, deadlines, handled
from modelplex.http.arrivals import COUNTED_MIN, Pieces
from modelplex.http.errors import BadMessage, ConnectionLost
from modelplex.http.express import Reply
from modelplex.http.handled import HandledConnection
from modelplex.http.inlet import Inlet
from modelplex.http.intake import Intake
from modelplex.http.messages import Request
from modelplex.http.outbox import Outbox
from modelplex.http.reading import Refused

log = logging.getLogger(__name__)

_HALF_CLOSED_S = 1.0  # a client that closed its half gets so long to be answered in


class Host(handled.Host, Protocol):
    """The server, which also keeps all its connections."""

    def forget(self, connection: ServerConnection) -> None:
        """The connection is gone; its task, if it has one, is ending."""


class ServerConnection(HandledConnection):
    """Reads requests, and writes their answers.

    A request that comes while nothing is unanswered may take the short way (`express`). All others
    wait for the handler, in a task (`Handling`) that ends when none is left.

    A client that closes its end, even one half of it, is gone: its handler is cancelled, after a
    moment. Which of the two it was cannot be told: clients that close one half still want their
    answer, but those that went away are many more, and must not go on costing anything.
    """

    __slots__ = ("_arrival", "_inlet", "seen", "since")

    _host: Host

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._inlet: Inlet | None = None
        self._arrival: Pieces | Intake | None = None  # an express request's body, past the parser
        self.seen: object = None  # what the last look at its deadline saw,
        self.since = 0.0  # and since when

    # -- asyncio's calls -------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self.deaf:
            return
        inlet = self._inlet
        if self._arrival is not None:
            self._gather(self._arrival, data)
        elif inlet is None:
            self._parse(data)
        else:
            found = inlet.heads.find(data)  # a request as this client has sent before
            if found is not None and (reply := self._take(found[0])) is not None:
                self.receive(reply, data[found[1] :])
            else:
                inlet.parse(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        if self._reply is not None:
            self._reply.lose()
        if self._inlet is not None:
            self._inlet.abort(ConnectionLost("the client went away", sent=True))
        self.rest()
        self._arrival = None
        self.outlet.lose()
        self._settle()
        self._sent()
        if self.task is not None:
            self.task.cancel()
        self._host.forget(self)

    def eof_received(self) -> bool:
        """Whether the connection stays open, for answers to what was received whole."""
        body = None if self._inlet is None else self._inlet.body
        if not self.busy or self._awaits_body or body is not None:
            return False
        self.deaf = True
        self.closing = self._waiting == 0
        asyncio.get_running_loop().call_later(_HALF_CLOSED_S, self.abort)
        return True

    # -- the server's calls ----------------------------------------------------------------------

    def expire(self, now: float) -> None:
        """Ends what has lasted too long; called by the server every now and then."""
        deadlines.look(self, self._host.limits, now)

    @property
    def idle(self) -> bool:
        """Whether nothing is under way, and nothing has come of a next request."""
        between = self._inlet is None or self._inlet.between
        return between and not (self.busy or self.deaf or self.outlet.paused)

    @property
    def idle_since(self) -> float:
        """When `expire` first saw it as it is; it has not yet: after all others."""
        return self.since if self.seen == self.turns else math.inf

    @property
    def receiving(self) -> bool:
        """Whether a head is arriving, or an express request's body."""
        return self._awaits_body or (self._inlet is not None and self._inlet.in_head)

    @property
    def _awaits_body(self) -> bool:
        return self._reply is not None and self._reply.waiting

    def rest(self) -> None:
        """Lets go of what an idle connection does not need."""
        inlet, self._inlet = self._inlet, None
        if inlet is not None:
            inlet.release()

    # -- calls of the inlet and of bodies --------------------------------------------------------

    def refuse(self, refused: Refused) -> None:
        """Answered after all requests that came before."""
        log.info("http.refused", extra={"status": refused.status, "reason": str(refused)})
        self.deaf = True
        if self._inlet is not None:
            self._inlet.abort(BadMessage(str(refused)))
        self._drop()
        self._push(refused)

    def _parse(self, data: bytes) -> None:
        if self._inlet is None:
            express = self._host.express is not None
            self._inlet = Inlet(self, self._host.limits, express=express)
        self._inlet.parse(data)

    def taken(self) -> None:
        if self._inlet is not None and not self.backed_up:
            self._inlet.go_on()
        super().taken()

    # -- the short way ---------------------------------------------------------------------------

    def offer(self, request: Request) -> Reply | None:
        reply = self._take(request)
        if self._inlet is not None:
            self._inlet.heads.begin(request, express=reply is not None)
        return reply

    def _take(self, request: Request) -> Reply | None:
        if self._reply is not None or self._handling is not None:
            return None
        express = self._host.express
        try:
            receiver = None if express is None or self.outlet.paused else express(request)
        except Exception:  # the handler will tell the client
            log.exception("http.express_failed", extra={"target": request.target})
            return None
        if receiver is None:
            return None
        self.turns += 1
        self._host.outbox.under_way += 1
        self._reply = reply = Reply()  # without a constructor: half the time
        reply.gone = False
        reply.line = self
        reply.on_gone = None
        reply.receiver = receiver
        reply.request = request
        return reply

    def answered(self, *, last: bool) -> None:
        self.turns += 1
        if self._claim is not None:
            self._settle()
        if last:
            self.transport.close()  # the reply stays: nothing else begins
            return
        self._reply = None
        if self._handling is not None:
            self._handling.start()

    @property
    def outbox(self) -> Outbox:
        return self._host.outbox

    def fits(self, size: int) -> bool:
        """Whether there is room for an answer."""
        return self._host.room.fits(size)

    def receive(self, reply: Reply, begun: bytes) -> None:
        """Has a body, of which this much is here, received when it is whole."""
        length = reply.request.length or 0
        if len(begun) == length <= COUNTED_MIN:
            reply.receive(begun)
            return
        try:
            arrival = arrivals.arrival(self, self._host.room, length, len(begun), self._whole)
        except Refused as refused:
            self.refuse(refused)
            return
        self._arrival, self._claim = arrival, arrival.claim
        arrival.enter(begun)

    def _gather(self, arrival: Pieces | Intake, data: bytes) -> None:
        assert isinstance(arrival, Pieces)  # an intake receives by itself
        if (behind := arrival.add(data)) and not self.deaf:
            self._parse(behind)

    def _whole(self, body: bytes | bytearray) -> None:
        self._arrival = None
        reply = self._reply
        if reply is not None:
            if self._inlet is not None:
                self._inlet.realign(reply)
            reply.receive(body)

    def _drop(self) -> None:
        """The body of an express request does not arrive in time."""
        if self._awaits_body:
            self._reply = None
            self._host.outbox.under_way -= 1
            self._settle()
        arrival, self._arrival = self._arrival, None
        if arrival is not None:
            arrival.leave()

    def late(self, *, slow: bool) -> None:
        """A body on its way in loses its room."""
        self.refuse(arrivals.too_late(slow=slow))
