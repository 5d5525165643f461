"""Bytes in, requests out: the server's side of parsing, with its limits.

llhttp, kept strict, refuses what smuggling is made of: Content-Length beside Transfer-Encoding,
two Content-Lengths, folded headers, bare line feeds. This file adds limits and the few rules that
llhttp leaves to its user.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import httptools

from modelplex.http.body import Body, Flow
from modelplex.http.express import Reply
from modelplex.http.messages import Header, Request

_FRAMING_SHARE = 8  # bytes of chunk headers and trailers allowed per byte of body
_SLASH = ord("/")
_SPECIAL = frozenset(
    (
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"expect",
        b"connection",
        b"proxy-connection",
    )
)  # headers that are the server's business
_NO_BODY = Body.of(b"")  # of requests whose body goes another way
_blank = Request.__new__


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """The bounds of a server; sizes in bytes, times in seconds."""

    headers_bytes_max: int = 32 * 1024  # request line and headers; more: 431
    idle_timeout_s: float = 75.0  # a connection without a request is closed
    request_read_timeout_s: float = 60.0  # headers, a body read whole, or its next piece: 408
    write_timeout_s: float = 60.0  # a client that takes no bytes for so long is cut off
    handshake_timeout_s: float = 10.0  # a TLS client that has not finished it is dropped
    connections_max: int = 4096  # more wait in the listen queue


class Refused(Exception):
    """Not a request this server answers; the connection ends after saying so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Owner(Flow, Protocol):
    """A server's connection as its reader sees it."""

    peer: str

    def offer(self, request: Request) -> Reply | None:
        """Who takes the request's body whole; None if nobody does."""

    def deliver(self, request: Request) -> None:
        """The headers of a request are complete. May raise Refused."""

    async def interim(self, status: int, headers: list[Header]) -> None:
        """Sends a 1xx response."""


class RequestReader:
    """Parses one connection's bytes and hands over each request when its headers are complete."""

    def __init__(self, limits: ServerLimits, owner: Owner, *, express: bool = False) -> None:
        """`express`: requests are offered first."""
        self._limits = limits
        self._owner = owner
        self._peer = owner.peer
        self._interim = owner.interim
        self._express = express
        self._head_max = limits.headers_bytes_max
        self._parser = httptools.HttpRequestParser(self)
        self.in_head = False  # a request has begun and its headers are not complete
        self.body: Body | None = None  # of the request that is arriving
        self.reply: Reply | None = None  # who wants the body of the arriving request whole
        self.pieces: list[bytes] = []  # of that body
        self.ended = False  # the client said that its last request is the last
        self.body_bytes = 0  # that have come of it
        self._fresh = True  # the message began in the bytes fed last
        self._overhead = 0  # bytes of the message so far that are not body, without those
        self._counted = 0  # of `body_bytes`, before the bytes fed last
        self._last = False  # the request is the client's last
        self._target = b""
        self._headers: list[Header] = []
        self._large = False  # the headers may be above their limit

    def feed(self, data: bytes) -> None:
        """Takes what came; raises Refused, after which nothing more may be fed."""
        self._large = self.in_head or len(data) > self._head_max
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.ended = True  # answered as a plain request; what follows it is not HTTP/1.1
        except httptools.HttpParserError as error:
            if not self.ended:
                raise self._refusal(error) from None
        if self.in_head or self.body is not None:
            self._count(len(data))

    def skip(self) -> None:
        """The rest of a body came another way; what follows is a new message."""
        self.reply = None
        self._parser = httptools.HttpRequestParser(self)

    def abort(self, error: Exception) -> None:
        """Tells the reader of a body that is still arriving."""
        self.reply = None
        if self.body is not None:
            self.body.fail(error)
            self.body = None

    def _count(self, size: int) -> None:
        """Bounds what a message that goes on and on may cost beside its body."""
        if self._fresh:
            self._fresh = False
            self._overhead = 0
        else:
            self._overhead += size - (self.body_bytes - self._counted)
        self._counted = self.body_bytes
        if self.in_head and self._overhead > self._head_max:
            raise self._too_large()
        if self.body and self._overhead > self._head_max + _FRAMING_SHARE * self.body_bytes:
            raise Refused(400, "more chunk headers than body")

    def _too_large(self) -> Refused:
        return Refused(431, f"request line and headers are longer than {self._head_max} bytes")

    @staticmethod
    def _refusal(error: httptools.HttpParserError) -> Refused:
        if isinstance(error.__context__, Refused):  # raised by a callback below
            return error.__context__
        return Refused(400, f"not a valid HTTP/1.1 request: {error}")

    # -- httptools' callbacks --------------------------------------------------------------------

    def on_url(self, url: bytes) -> None:
        """A piece of the target; the first one is the first that is told of a message."""
        if self.in_head:
            self._target += url
            return
        self.in_head = self._fresh = True
        self.body_bytes = 0
        self._target = url
        self._headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.in_head:  # else a trailer, which nobody here reads
            self._headers.append((name.lower(), value.rstrip()))

    def on_headers_complete(self) -> None:
        self.in_head = False
        if self._large:
            self._check_size()
        parser, owner = self._parser, self._owner
        keep = parser.should_keep_alive()
        self._last = not keep
        hosts, length, coding, plain, expects = 0, b"", b"", keep, False
        for name, value in self._headers:
            if name in _SPECIAL:
                if name == b"host":
                    hosts += 1
                elif name == b"content-length":
                    length = value
                elif name == b"transfer-encoding":
                    coding = value
                elif name == b"expect":
                    expects = True
                else:
                    plain = False
        # Without Connection and what llhttp takes for it, only HTTP/1.1 is kept alive.
        http10 = not plain and self._is_http10()
        if hosts != 1 or coding or self._target[0] != _SLASH:
            self._check_head(hosts, coding, http10)
        request = _blank(Request)  # field by field: half the time of its constructor
        request.method = parser.get_method().decode()
        request.target = self._target
        request.headers = self._headers
        request.body = _NO_BODY
        request.peer = self._peer
        request.send_interim = self._interim
        request.http10 = http10
        request.keep_alive = keep and not (http10 or parser.should_upgrade())
        request.length = None if coding else int(length) if length else 0
        request.packed = None
        if self._express and not coding:
            self.reply = owner.offer(request)
        if self.reply is None:
            timeout_s = self._limits.request_read_timeout_s
            self.body = request.body = Body(request.length, owner, timeout_s)
            owner.deliver(request)
        elif expects:
            owner.body_wanted()

    def on_body(self, data: bytes) -> None:
        self.body_bytes += len(data)
        if self.body is None:
            self.pieces.append(data)
        else:
            self.body.feed(data)

    def on_message_complete(self) -> None:
        self.ended = self._last
        reply = self.reply
        if reply is not None:
            self.reply = None
            pieces, self.pieces = self.pieces, []
            reply.receive(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        elif self.body is not None:
            self.body.finish()
            self.body = None

    # -- rules -----------------------------------------------------------------------------------

    def _check_size(self) -> None:
        size = len(self._target) + sum(len(n) + len(v) + 4 for n, v in self._headers)
        if size > self._head_max:
            raise self._too_large()

    def _is_http10(self) -> bool:
        version = self._parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise Refused(505, f"HTTP/{version} is not spoken here, HTTP/1.1 is")
        return version == "1.0"

    def _check_head(self, hosts: int, coding: bytes, http10: bool) -> None:
        if self._target[:1] != b"/" and self._target != b"*":
            raise Refused(400, "the request target must be a path")
        if hosts > 1 or (hosts == 0 and not http10):
            raise Refused(400, f"a request needs one Host header, this one has {hosts}")
        if coding and coding.lower() != b"chunked":
            text = coding.decode("latin-1")
            raise Refused(501, f"Transfer-Encoding {text!r} is not understood")
