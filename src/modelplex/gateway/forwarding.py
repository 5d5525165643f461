"""Passing messages on: which headers end at this hop, and a server's answer as our own."""

from __future__ import annotations

from modelplex.http.client import ClientResponse
from modelplex.http.messages import Header, Response

# RFC 9110 7.6.1, and Expect, which is between a client and the first server it meets.
_HOP_BY_HOP = frozenset(
    [
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"expect",
    ]
)


def end_to_end(headers: list[Header]) -> list[Header]:
    """The headers that are meant for the last server, or the first client."""
    named: frozenset[bytes] = frozenset()
    for name, value in headers:
        if name == b"connection":
            named |= {word.strip() for word in value.lower().split(b",")}
    return [h for h in headers if h[0] not in _HOP_BY_HOP and h[0] not in named]


async def passed(answer: ClientResponse) -> Response:
    """A server's answer as ours, streamed unless it is all here already."""
    headers = end_to_end(answer.headers)
    if answer.body.complete and answer.body.length:
        return Response(answer.status, headers, await answer.read(answer.body.length))
    return Response(answer.status, headers, answer)
