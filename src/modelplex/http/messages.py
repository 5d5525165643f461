"""Requests and responses as values, and how their first lines and headers become bytes."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus

from modelplex.http.body import Body

__all__ = ["Body", "Data", "Handler", "Header", "Request", "Response"]

Header = tuple[bytes, bytes]  # the name in lower case, the value as it came
Data = bytes | bytearray | memoryview

STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}".encode() for s in HTTPStatus}
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]+")
_PHRASE_MAX = 128  # characters; what is longer is cut


@dataclass(slots=True, eq=False)
class Request:
    """One request as a server hands it to its handler; its body may still be arriving."""

    method: str
    target: bytes
    headers: list[Header]
    body: Body
    peer: str
    http10: bool = False  # then chunks are not understood, nor is 100 Continue
    keep_alive: bool = True  # False: the client will send no other request
    length: int | None = None  # of the body, if the client said it
    packed: bytes | None = None  # its headers, as whoever needs them often has written them

    @property
    def path(self) -> bytes:
        """The raw target before "?"."""
        return self.target.partition(b"?")[0]

    @property
    def query(self) -> bytes:
        """The raw target after "?", empty if there is none."""
        return self.target.partition(b"?")[2]

    def header(self, name: bytes, default: bytes = b"") -> bytes:
        """The first header of that (lower-case) name."""
        return first(self.headers, name, default)


@dataclass(slots=True)
class Response:
    """What a handler returns.

    An iterable body is sent with the Content-Length among `headers` if there is one, else chunked;
    if it has an `async discard()`, that is awaited in the end, whatever happened.
    """

    status: int
    headers: list[Header] = field(default_factory=list)
    body: Data | AsyncIterable[bytes] = b""
    phrase: str = ""  # in the status line, in place of the usual one


Handler = Callable[[Request], Awaitable[Response]]


def first(headers: list[Header], name: bytes, default: bytes = b"") -> bytes:
    """The value of the first header of that (lower-case) name."""
    for key, value in headers:
        if key == name:
            return value
    return default


def status_line(status: int, phrase: str = "") -> bytes:
    """`HTTP/1.1 200 OK`, without its line end; a status without a name has none.

    Of a `phrase` of its own, control characters become spaces, and what is not Latin-1 "?".
    """
    if phrase:
        text = _CONTROL.sub(b" ", phrase[:_PHRASE_MAX].encode("latin-1", "replace"))
        return b"HTTP/1.1 %d %b" % (status, text.strip())
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d " % status


def explain(status: int, message: str) -> Response:
    """A refusal in the form that is used between our own processes."""
    body = json.dumps({"message": message}).encode()
    return Response(status, [(b"content-type", b"application/json")], body)


def encode_head(start: bytes, headers: list[Header]) -> bytes:
    """The first line and headers as bytes; ValueError if a value would break out of its line."""
    return b"%b\r\n%b\r\n" % (start, encode_headers(headers))


def encode_headers(headers: list[Header]) -> bytes:
    """One line per header; ValueError if a value would break out of its line."""
    block = b"".join([b"%b: %b\r\n" % header for header in headers])
    lines = len(headers)
    if block.count(b"\n") != lines or block.count(b"\r") != lines or b"\0" in block:
        raise ValueError(f"a line break or zero byte in a header: {headers!r}")
    return block
