"""From received bytes to requests: those that the short way of `Heads` does not know are parsed."""

from __future__ import annotations

from typing import Protocol

from modelplex.http.body import Body
from modelplex.http.express import Reply
from modelplex.http.heads import Heads
from modelplex.http.reading import Owner, Refused, RequestReader, ServerLimits

_SLICE = 4096  # bytes parsed at a time: they hold fewer requests than may wait


class Line(Owner, Protocol):
    """The connection as its inlet sees it."""

    deaf: bool  # what still comes is thrown away

    @property
    def backed_up(self) -> bool:
        """Whether too many requests wait for another to be parsed."""

    def refuse(self, refused: Refused) -> None:
        """Answers what cannot be read, and ends."""


class Inlet:
    """What a connection needs while it receives requests; an idle one has none."""

    __slots__ = ("_held", "_line", "_reader", "heads")

    def __init__(self, line: Line, limits: ServerLimits, *, express: bool) -> None:
        """`express`: requests are offered to the short way first."""
        self.heads = Heads()
        self._line = line
        self._reader = RequestReader(limits, line, express=express)
        self._held = b""  # came behind more requests than may wait, and is not parsed yet

    @property
    def between(self) -> bool:
        """Whether nothing has come of a next request."""
        return self._reader.between

    @property
    def in_head(self) -> bool:
        """Whether a request has begun and its headers are not complete."""
        return self._reader.in_head

    @property
    def body(self) -> Body | None:
        """Of the handler's request that is arriving."""
        return self._reader.body

    def parse(self, data: bytes) -> None:
        """Has what came parsed, a slice at a time while it may hold many requests.

        What is left while too many wait is kept; reading from the client stops meanwhile.
        """
        if self._held:
            self._held += data
            return
        line, reader = self._line, self._reader
        while data and not line.deaf:
            if line.backed_up:
                self._held = data
                return
            size = len(data) if reader.body is not None else _SLICE
            self._feed(data[:size])
            data = data[size:]
            if reader.reply is not None:
                data = self._part(reader.reply, data)

    def go_on(self) -> None:
        """Fewer requests wait: what was kept is parsed."""
        if self._held:
            data, self._held = self._held, b""
            self.parse(data)

    def abort(self, error: Exception) -> None:
        """Nothing more is read; tells the reader of a body that is still arriving."""
        self._held = b""
        self._reader.abort(error)

    def release(self) -> None:
        """Lets go of the parser."""
        self._reader.release()

    def _feed(self, data: bytes) -> None:
        reader = self._reader
        try:
            reader.feed(data)
        except Refused as refused:
            self._line.refuse(refused)
            return
        self.heads.learn(data, reader.body_bytes, between=reader.between)
        if reader.ended:
            self._line.deaf = reader.body is None

    def _part(self, reply: Reply, data: bytes) -> bytes:
        """Has the body that the parser has begun come another way; what of `data` is behind it."""
        reader = self._reader
        length = reply.request.length or 0
        need = length - reader.body_bytes
        begun = b"".join([*reader.pieces, memoryview(data)[:need]])
        reader.pieces = []
        reader.skip()
        if len(begun) == length:
            self.realign(reply)
        self._line.receive(reply, begun)
        return data[need:]

    def realign(self, reply: Reply) -> None:
        """The body of a reply has passed by the parser: what comes next is a new message, if
        anything."""
        self._line.deaf = not reply.request.keep_alive
        self.heads.realign()
