"""Requests that begin with the very bytes of an earlier one on their connection need no parser.

A client that asks for the same thing again and again sends the same request line and headers, byte
for byte, and the same bytes mean the same request. This holds only where a message begins: a
connection is *aligned* when what came last ended with the end of a message.
"""

from __future__ import annotations

from modelplex.http.messages import Request

HEADS_MAX = 8  # remembered per connection
HEAD_BYTES_MAX = 4096  # a longer one is not remembered

_END = b"\r\n\r\n"


class Heads:
    """What one client has sent before."""

    __slots__ = ("_aligned", "_begun", "_express", "_known", "_latest")

    def __init__(self) -> None:
        self._aligned = True
        self._known: dict[bytes, tuple[Request, int]] = {}  # what `find` returns
        self._begun = 0  # requests that the bytes being parsed have begun
        self._latest: Request | None = None  # of them
        self._express = False  # whether it went the short way

    def find(self, data: bytes) -> tuple[Request, int] | None:
        """The request that `data` begins, and where its body, whole or not, begins in it.

        None: it takes a parser, as does whatever is longer than the one request.
        """
        if not self._known or not self._aligned:
            return None
        at = data.find(_END) + 4
        found = self._known.get(data[:at])
        if found is None or found[0].length < len(data) - at:  # type: ignore[operator]
            return None
        return found

    def begin(self, request: Request, *, express: bool) -> None:
        """The parser has come to the end of a head; `express`: the request goes the short way."""
        self._begun += 1
        self._latest = request
        self._express = express

    def learn(self, data: bytes, body_bytes: int, *, between: bool) -> None:
        """The parser has taken `data`: if that began one request, its head is known now.

        `body_bytes` have come of the latest body; `between`: that was the end of a message.
        """
        aligned, self._aligned = self._aligned, between
        begun, self._begun = self._begun, 0
        request, self._latest = self._latest, None
        if not aligned or begun != 1 or request is None or not self._express:
            return
        at = len(data) - body_bytes
        waits = b"\r\nexpect:" in data[:at].lower()  # the request's headers may have lost it
        if at != data.find(_END) + 4 or waits or not request.keep_alive:
            return
        if at <= HEAD_BYTES_MAX and len(self._known) < HEADS_MAX:
            self._known[data[:at]] = request, at

    def realign(self) -> None:
        """What comes next is the beginning of a message, however the last one came."""
        self._aligned, self._begun, self._latest = True, 0, None
