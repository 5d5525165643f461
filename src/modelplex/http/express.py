"""The short way of a request: no task, no future, its body whole, its answer from any callback."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol, cast

from modelplex.http.messages import (
    STATUS_LINES,
    Data,
    Request,
    encode_headers,
    explain,
    status_line,
)
from modelplex.http.writing import BODILESS

_LINES = {status: line + b"\r\n" for status, line in STATUS_LINES.items()}
_LAST = b"connection: close\r\n\r\n"
_LENGTH = b"content-length: %d\r\n\r\n"
_LENGTH_LAST = b"content-length: %d\r\n" + _LAST

log = logging.getLogger(__name__)

Receiver = Callable[[Request, Data, "Reply"], None]
Express = Callable[[Request], Receiver | None]

_JOIN_MAX = 64 * 1024  # bytes; an answer up to this is copied behind its head: one buffer
_ROOM_MIN = 64 * 1024  # bytes set aside for a body of which nothing has come,
_ROOM_SHARE = 16  # and per byte that has


class Line(Protocol):
    """The connection as a reply sees it."""

    transport: asyncio.Transport
    closing: bool  # the next answer is the last

    def answered(self, *, last: bool) -> None:
        """The answer is written."""


class Reply:
    """One express request under way, and where its one answer goes.

    `gone`: the client went away, nobody will read the answer.
    """

    __slots__ = ("gone", "line", "receiver", "request")

    gone: bool
    line: Line | None
    receiver: Receiver | None
    request: Request

    @property
    def waiting(self) -> bool:
        """Whether the request's body is still arriving."""
        return self.receiver is not None

    def receive(self, body: Data) -> None:
        """The body is here; a receiver that breaks has its request answered 500."""
        receiver = self.receiver
        assert receiver is not None
        self.receiver = None
        try:
            receiver(self.request, body, self)
        except Exception:
            log.exception("http.receiver_failed", extra={"target": self.request.target})
            if self.line is not None:
                refusal = explain(500, "internal error; the log of this process has its traceback")
                self.send(500, encode_headers(refusal.headers), cast(bytes, refusal.body))

    def send(self, status: int, headers: bytes, body: Data, phrase: str = "") -> None:
        """Answers, now or later; dropped if the client is gone. RuntimeError the second time.

        `headers` is what `encode_headers` makes, without Content-Length and Connection; `phrase`
        stands in the status line, in place of the usual one.
        """
        line = self.line
        if line is None:
            if self.gone:
                return
            raise RuntimeError(f"a second answer to {self.request.target!r}")
        self.line = None
        request = self.request
        last = line.closing or not request.keep_alive
        usual = None if phrase else _LINES.get(status)
        head = (usual or status_line(status, phrase) + b"\r\n") + headers
        if status in BODILESS:
            head, body = head + (_LAST if last else b"\r\n"), b""
        else:
            head += (_LENGTH_LAST if last else _LENGTH) % len(body)
            if request.method == "HEAD":
                body = b""
        if len(body) > _JOIN_MAX:
            line.transport.writelines([head, body])
        else:
            line.transport.write(head + body)
        line.answered(last=last)

    def lose(self) -> None:
        """The client went away."""
        self.gone = True
        self.line = None


class Intake(asyncio.BufferedProtocol):
    """Takes the place of a connection while a large body comes: from the socket to its buffer.

    The buffer grows with what has come, so that a client that only promises costs little.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        line: asyncio.Protocol,
        length: int,
        done: Callable[[bytearray], None],
    ) -> None:
        """`length`: of the body; `done` is called with it when it is there."""
        self._transport = transport
        self._line = line
        self._length = length
        self._done = done
        self._buffer = bytearray()
        self._filled = 0

    def enter(self, begin: bytes) -> None:
        """Takes over; `begin` is what has come of the body already."""
        self._filled = len(begin)
        self._buffer += begin
        self._switch(self)

    def leave(self) -> None:
        """Gives the connection its place back."""
        self._switch(self._line)

    def _switch(self, protocol: asyncio.BaseProtocol) -> None:
        """uvloop chooses how to read when reading begins, so it begins anew."""
        if not self._transport.is_closing():
            self._transport.pause_reading()
            self._transport.set_protocol(protocol)
            self._transport.resume_reading()

    # -- asyncio's calls -------------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._filled == len(self._buffer):
            room = min(self._length, max(_ROOM_MIN, _ROOM_SHARE * self._filled))
            self._buffer.extend(bytes(room - self._filled))
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        if self._filled == self._length:
            self.leave()
            self._done(self._buffer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._line.connection_lost(exc)

    def pause_writing(self) -> None:
        self._line.pause_writing()

    def resume_writing(self) -> None:
        self._line.resume_writing()
