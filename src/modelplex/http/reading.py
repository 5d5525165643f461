"""Bytes in, requests out: the server's side of parsing, with its limits.

llhttp, kept strict, refuses what smuggling is made of: Content-Length beside Transfer-Encoding,
two Content-Lengths, folded headers, bare line feeds. This file adds limits and what llhttp leaves
to its user; `rules.py` has the rules that few requests meet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import httptools

from modelplex.http.body import Body, Flow
from modelplex.http.express import Reply
from modelplex.http.messages import Header, Request
from modelplex.http.rules import (
    Refused,
    check_coding,
    check_expectation,
    check_host,
    origin_form,
)

__all__ = ["Owner", "Refused", "RequestReader", "ServerLimits"]

_HEADERS_MAX = 256  # of one request, however short: each costs many times its bytes; more: 431
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
_METHODS = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE")}
_blank = Request.__new__


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """The bounds of a server; sizes in bytes, times in seconds."""

    headers_bytes_max: int = 32 * 1024  # request line and headers; more: 431
    idle_timeout_s: float = 75.0  # a connection without a request is closed
    request_read_timeout_s: float = 60.0  # headers, a body read whole, or its next piece: 408
    write_timeout_s: float = 60.0  # a client that takes no bytes for so long is cut off
    handshake_timeout_s: float = 10.0  # a TLS client that has not finished it is dropped
    connections_max: int = 16384  # more: the longest idle is closed; all busy: more wait
    bodies_bytes_max: int = 512 * 1024 * 1024  # of bodies held at once; see room.py


class Owner(Flow, Protocol):
    """A server's connection as its reader sees it."""

    @property
    def peer(self) -> str:
        """The client's address."""

    def offer(self, request: Request) -> Reply | None:
        """Who takes the request's body whole; None if nobody does."""

    def receive(self, reply: Reply, begun: bytes) -> None:
        """So much of the body that was offered is here: all, or as much as has come yet."""

    def deliver(self, request: Request) -> None:
        """The headers of a request are complete. May raise Refused."""


class RequestReader:
    """Parses one connection's bytes and hands over each request when its headers are complete."""

    def __init__(self, limits: ServerLimits, owner: Owner, *, express: bool = False) -> None:
        """`express`: requests are offered first."""
        self._limits = limits
        self._owner = owner
        self._peer = owner.peer
        self._express = express
        self._head_max = limits.headers_bytes_max
        self._parser = httptools.HttpRequestParser(self)
        self.in_head = False  # a request has begun and its headers are not complete
        self.body: Body | None = None  # of the request that is arriving
        self.reply: Reply | None = None  # who wants the body of the arriving request whole
        self.pieces: list[bytes] = []  # of that body
        self.ended = False  # the client said that its last request is the last
        self.body_bytes = 0  # that have come of it
        self.between = True  # nothing has come of the next message
        self._fresh = True  # the message began in the bytes fed last
        self._overhead = 0  # bytes of the message so far that are not body, without those
        self._counted = 0  # of `body_bytes`, before the bytes fed last
        self._last = False  # the request is the client's last
        self._target = b""
        self._headers: list[Header] = []
        self._resuming = False  # an Upgrade's body is to be read by another parser
        self._length: int | None = None  # of the body that is arriving
        self._host: bytes | None = None  # the latest that was found good
        self._large = False  # the headers may be above their limit

    def feed(self, data: bytes) -> None:
        """Takes what came; raises Refused, after which nothing more may be fed."""
        self._large = self.in_head or len(data) > self._head_max
        rest = data
        while rest:
            try:
                self._parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:
                rest = b"" if self.ended else rest[int(upgrade.args[0]) :]
                self._go_on()
            except httptools.HttpParserError as error:
                if not self.ended:
                    raise self._refusal(error) from None
                break
            else:
                break
        if self.in_head or self.body is not None:
            self._count(len(data))

    def skip(self) -> None:
        """The rest of a body comes another way; what follows is a new message."""
        self.reply = None
        self.between = True
        self._parser = httptools.HttpRequestParser(self)

    def release(self) -> None:
        """Lets go of the parser, which holds this object: nothing is left for the collector."""
        del self._parser

    def _go_on(self) -> None:
        """Ignores an Upgrade (RFC 9110, 7.8), after whose head llhttp stops, body or not.

        A new parser goes on behind that head; it is told how the body is framed, if there is one.
        """
        self._parser = httptools.HttpRequestParser(self)
        if self._resuming:
            framing = b"transfer-encoding: chunked"
            if self._length is not None:
                framing = b"content-length: %d" % self._length
            last = b"connection: close\r\n" if self._last else b""
            self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n%b\r\n" % (framing, last))

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

    def on_message_begin(self) -> None:
        self.between = False

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
        if self._resuming:
            self._resuming = False
            return
        if self._large or len(self._headers) > _HEADERS_MAX:
            self._check_size()
        parser, owner = self._parser, self._owner
        special: dict[bytes, bytes] = {}
        for name, value in self._headers:
            if name in _SPECIAL:
                # Joined by what no value contains, so that two lines are never taken for one.
                special[name] = special[name] + b"\r" + value if name in special else value
        keep, upgrade = parser.should_keep_alive(), parser.should_upgrade()
        self._last = not keep
        # Without Connection and what llhttp takes for it, only HTTP/1.1 is kept alive.
        plain = keep and b"connection" not in special and b"proxy-connection" not in special
        http10 = not plain and self._is_http10()
        host = special.get(b"host")
        if host is None or host != self._host:
            self._host = check_host(host, http10=http10)
        method, target = parser.get_method(), self._target
        if upgrade or target[0] != _SLASH:  # CONNECT counts as an upgrade
            target = origin_form(method, target, host or b"")
        length, coding = special.get(b"content-length"), special.get(b"transfer-encoding")
        if coding is not None:
            check_coding(coding, http10=http10)
        expect = special.get(b"expect")
        if expect and not http10:  # HTTP/1.0 knows no expectations
            check_expectation(expect)
        request = _blank(Request)  # field by field: half the time of its constructor
        request.method = _METHODS.get(method) or method.decode()
        request.target = target
        request.headers = self._headers
        request.body = _NO_BODY
        request.peer = self._peer
        request.http10 = http10
        request.keep_alive = keep and not http10
        request.length = int(length or 0) if coding is None else None
        request.packed = None
        if upgrade and request.length != 0:
            self._resuming, self._length = True, request.length
        if self._express and coding is None:
            self.reply = owner.offer(request)
        if self.reply is None:
            timeout_s = self._limits.request_read_timeout_s
            self.body = request.body = Body(request.length, owner, timeout_s)
            owner.deliver(request)
        elif expect:
            owner.body_wanted()

    def on_body(self, data: bytes) -> None:
        self.body_bytes += len(data)
        if self.body is None:
            self.pieces.append(data)
        else:
            self.body.feed(data)

    def on_message_complete(self) -> None:
        if self._resuming:
            return
        self.ended = self._last
        self.between = True
        reply = self.reply
        if reply is not None:
            self.reply = None
            pieces, self.pieces = self.pieces, []
            self._owner.receive(reply, pieces[0] if len(pieces) == 1 else b"".join(pieces))
        elif self.body is not None:
            self.body.finish()
            self.body = None

    # -- rules -----------------------------------------------------------------------------------

    def _check_size(self) -> None:
        if len(self._headers) > _HEADERS_MAX:
            raise Refused(431, f"more than {_HEADERS_MAX} headers")
        size = len(self._target) + sum(len(n) + len(v) + 4 for n, v in self._headers)
        if size > self._head_max:
            raise self._too_large()

    def _is_http10(self) -> bool:
        version = self._parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise Refused(505, f"HTTP/{version} is not spoken here, HTTP/1.1 is")
        return version == "1.0"
