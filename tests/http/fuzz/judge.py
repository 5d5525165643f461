"""What h11, which shares no line with llhttp, reads in the same bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import h11

from tests.http.fuzz.sides import Seen

_BLANK = re.compile(rb"(?:\r?\n)+")
_ABSOLUTE = re.compile(rb"(?i:https?)://[^/?]+")
_MAX = 64 * 1024  # bytes of a head; more than any stream has


def readings(data: bytes) -> Iterator[Seen]:
    """The requests that h11 sees; ends where it refuses, or misses bytes, or the last one ends."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX)
    connection.receive_data(_BLANK.sub(b"", data, count=1) if data[:1] in b"\r\n" else data)
    request: h11.Request | None = None
    body = b""
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            return
        match event:
            case h11.Request():
                request, body = event, b""
            case h11.Data():
                body += event.data
            case h11.EndOfMessage() if request is not None:
                yield _seen(request, body)
                if not _next(connection):
                    return
            case _:
                return


def _next(connection: h11.Connection) -> bool:
    """Answers, and whether there may be another request."""
    try:
        connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
        connection.send(h11.EndOfMessage())
        connection.start_next_cycle()
    except h11.LocalProtocolError:
        return False
    return True


def _seen(request: h11.Request, body: bytes) -> Seen:
    headers = tuple((name, value) for name, value in request.headers if name != b"expect")
    target = request.target
    if match := _ABSOLUTE.match(target):
        rest = target[match.end() :]
        target = rest if rest[:1] == b"/" else b"/" + rest
    return Seen(request.method.decode(), target, headers, body)


def disagreement(seen: Sequence[Seen], data: bytes) -> tuple[str, int]:
    """How the two differ in what both have read ("": in nothing), and how much of that there is.

    Either may read less: what is refused is not compared, and neither is what follows it.
    """
    compared = 0
    for ours, theirs in zip(seen, readings(data), strict=False):
        if _plain(ours) != theirs:
            return f"we read {ours!r}\n  h11 reads {theirs!r}", compared
        compared += 1
    return "", compared


def _plain(seen: Seen) -> Seen:
    """With Transfer-Encoding in lower case, as h11 gives it."""
    lowered = tuple(
        (name, value.lower() if name == b"transfer-encoding" else value)
        for name, value in seen.headers
    )
    return Seen(seen.method, seen.target, lowered, seen.body)
