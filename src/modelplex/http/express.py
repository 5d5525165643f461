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
from modelplex.http.outbox import Outbox
from modelplex.http.writing import BODILESS, LARGE, NO_ROOM, refusal

_LINES = {status: line + b"\r\n" for status, line in STATUS_LINES.items()}
_LAST = b"connection: close\r\n\r\n"
_LENGTH = b"content-length: %d\r\n\r\n"
_LENGTH_LAST = b"content-length: %d\r\n" + _LAST

_REFUSAL = refusal(503, NO_ROOM)
_NO_ROOM = cast(bytes, _REFUSAL.body)
_NO_ROOM_HEADERS = encode_headers(_REFUSAL.headers)

log = logging.getLogger(__name__)

Receiver = Callable[[Request, Data, "Reply"], None]
Express = Callable[[Request], Receiver | None]


class Line(Protocol):
    """The connection as a reply sees it."""

    transport: asyncio.Transport
    closing: bool  # the next answer is the last

    @property
    def outbox(self) -> Outbox:
        """Where small answers go, and where it is counted that there is one to come."""

    def fits(self, size: int) -> bool:
        """Whether an answer of `size` bytes may wait for its client."""

    def answered(self, *, last: bool) -> None:
        """The answer is written."""


class Reply:
    """One express request under way, and where its one answer goes.

    `gone`: the client went away, nobody will read the answer; `on_gone` is called then.
    """

    __slots__ = ("gone", "line", "on_gone", "receiver", "request")

    gone: bool
    line: Line | None
    on_gone: Callable[[], None] | None
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
        if len(body) > LARGE and not line.fits(len(body)):
            status, phrase, body = 503, "", _NO_ROOM
            headers = _NO_ROOM_HEADERS
        self.line = None
        outbox = line.outbox
        outbox.under_way -= 1
        request = self.request
        last = line.closing or not request.keep_alive
        usual = None if phrase else _LINES.get(status)
        start = usual or status_line(status, phrase) + b"\r\n"
        if status in BODILESS:
            end, body = _LAST if last else b"\r\n", b""
        else:
            end = (_LENGTH_LAST if last else _LENGTH) % len(body)
            if request.method == "HEAD":
                body = b""
        if len(body) <= LARGE:
            self.on_gone = None
            outbox.put(self, line, b"".join((start, headers, end, body)), last)
        else:
            line.transport.writelines([start + headers + end, body])
            line.answered(last=last)

    def lose(self) -> None:
        """The client went away."""
        self.gone = True
        if self.line is not None:
            self.line.outbox.under_way -= 1
            self.line = None
        if self.on_gone is not None:
            self.on_gone()
