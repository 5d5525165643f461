"""Passing messages on: which headers end at this hop, and a server's answer as our own."""

from __future__ import annotations

from modelplex.http.client import ClientResponse
from modelplex.http.messages import Header, Response

# RFC 9110 7.6.1, and Expect, which is between a client and the first server it meets.
_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer "
    b"transfer-encoding upgrade expect".split()
)


def end_to_end(headers: list[Header]) -> list[Header]:
    """The headers that are meant for the last server, or the first client."""
    kept = [header for header in headers if header[0] not in _HOP_BY_HOP]
    if len(kept) < len(headers):
        named = b",".join([value.lower() for name, value in headers if name == b"connection"])
        ended = {name.strip() for name in named.split(b",")}
        kept = [header for header in kept if header[0] not in ended]
    return kept


def passed(answer: ClientResponse) -> Response:
    """A server's answer as ours, streamed unless it is all here already."""
    whole = answer.body.complete and answer.body.length
    return Response(
        answer.status, end_to_end(answer.headers), answer.body.take() if whole else answer
    )
