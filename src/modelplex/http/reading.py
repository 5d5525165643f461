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
from modelplex.http.messages import Header, Request

_FRAMING_SHARE = 8  # bytes of chunk headers and trailers allowed per byte of body


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """The bounds of a server; sizes in bytes, times in seconds."""

    headers_bytes_max: int = 32 * 1024  # request line and headers; more: 431
    idle_timeout_s: float = 75.0  # a connection without a request is closed
    request_read_timeout_s: float = 60.0  # headers, a body read whole, or its next piece: 408
    write_timeout_s: float = 60.0  # a client that takes no bytes for so long is cut off
    connections_max: int = 4096  # more wait in the listen queue


class Refused(Exception):
    """Not a request this server answers; the connection ends after saying so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Owner(Flow, Protocol):
    """A server's connection as its reader sees it."""

    peer: str

    def deliver(self, request: Request) -> None:
        """The headers of a request are complete. May raise Refused."""

    async def interim(self, status: int, headers: list[Header]) -> None:
        """Sends a 1xx response."""


class RequestReader:
    """Parses one connection's bytes and hands over each request when its headers are complete."""

    def __init__(self, limits: ServerLimits, owner: Owner) -> None:
        self._limits = limits
        self._owner = owner
        self._parser = httptools.HttpRequestParser(self)
        self.in_head = False  # a request has begun and its headers are not complete
        self.body: Body | None = None  # of the request that is arriving
        self.ended = False  # the client said that its last request is the last
        self._fresh = False  # the message began in the bytes being fed
        self._overhead = 0  # bytes of the message so far that are not body
        self._body_bytes = 0
        self._target = b""
        self._headers: list[Header] = []
        self._large = False  # the headers may be above their limit

    def feed(self, data: bytes) -> None:
        """Takes what came; raises Refused, after which nothing more may be fed."""
        self._fresh = False
        self._large = self.in_head or len(data) > self._limits.headers_bytes_max
        body_bytes = self._body_bytes
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.ended = True  # answered as a plain request; what follows it is not HTTP/1.1
        except httptools.HttpParserError as error:
            if not self.ended:
                raise self._refusal(error) from None
        if not self._fresh:
            self._overhead += len(data) - (self._body_bytes - body_bytes)
            self._check_overhead()

    def abort(self, error: Exception) -> None:
        """Tells the reader of a body that is still arriving."""
        if self.body is not None:
            self.body.fail(error)
            self.body = None

    def _check_overhead(self) -> None:
        allowed = self._limits.headers_bytes_max
        if self.in_head and self._overhead > allowed:
            raise Refused(431, f"request line and headers are longer than {allowed} bytes")
        if self.body is not None and self._overhead > allowed + _FRAMING_SHARE * self._body_bytes:
            raise Refused(400, "more chunk headers than body")

    @staticmethod
    def _refusal(error: httptools.HttpParserError) -> Refused:
        if isinstance(error.__context__, Refused):  # raised by a callback below
            return error.__context__
        return Refused(400, f"not a valid HTTP/1.1 request: {error}")

    # -- httptools' callbacks --------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self.in_head = self._fresh = True
        self._overhead = self._body_bytes = 0
        self._target = b""
        self._headers = []

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.in_head:  # else a trailer, which nobody here reads
            self._headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        parser = self._parser
        self.in_head = False
        if self._large:
            self._check_size()
        version = parser.get_http_version()
        owner = self._owner
        self.body = Body(self._check_head(version), owner, self._limits.request_read_timeout_s)
        http10 = version == "1.0"
        owner.deliver(
            Request(
                method=parser.get_method().decode(),
                target=self._target,
                headers=self._headers,
                body=self.body,
                peer=owner.peer,
                send_interim=owner.interim,
                http10=http10,
                keep_alive=parser.should_keep_alive() and not (http10 or parser.should_upgrade()),
            )
        )

    def on_body(self, data: bytes) -> None:
        self._body_bytes += len(data)
        assert self.body is not None
        self.body.feed(data)

    def on_message_complete(self) -> None:
        if self.body is not None:
            self.body.finish()
        self.body = None
        self.ended = self.ended or not self._parser.should_keep_alive()

    # -- rules -----------------------------------------------------------------------------------

    def _check_size(self) -> None:
        size = len(self._target) + sum(len(n) + len(v) + 4 for n, v in self._headers)
        allowed = self._limits.headers_bytes_max
        if size > allowed:
            raise Refused(431, f"request line and headers are longer than {allowed} bytes")

    def _check_head(self, version: str) -> int | None:
        """The body's length, None for chunks."""
        if version not in ("1.1", "1.0"):
            raise Refused(505, f"HTTP/{version} is not spoken here, HTTP/1.1 is")
        if self._target[:1] != b"/" and self._target != b"*":
            raise Refused(400, "the request target must be a path")
        hosts, length, coding = 0, b"0", b""
        for name, value in self._headers:
            if name == b"host":
                hosts += 1
            elif name == b"content-length":
                length = value
            elif name == b"transfer-encoding":
                coding = value
        if hosts > 1 or (hosts == 0 and version == "1.1"):
            raise Refused(400, f"a request needs one Host header, this one has {hosts}")
        if coding and coding.lower() != b"chunked":
            raise Refused(501, f"Transfer-Encoding {coding.decode('latin-1')!r} is not understood")
        return None if coding else int(length)
