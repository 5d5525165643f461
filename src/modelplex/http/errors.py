"""What can go wrong while carrying a message, told apart by what the caller may do next."""

from __future__ import annotations


class ConnectFailed(OSError):
    """No connection could be had, so nothing was sent: trying elsewhere is always safe."""


class ConnectionLost(OSError):
    """The peer went away.

    `sent` says whether any byte of the request had been written by then; `unread`, that the peer
    certainly went without having read all of it, which Unix sockets can tell.
    """

    def __init__(self, message: str, *, sent: bool, unread: bool = False) -> None:
        super().__init__(message)
        self.sent = sent
        self.unread = unread or not sent


class BodyTooLarge(Exception):
    """A body is longer than its reader allows; `limit` is in bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body is longer than {limit} bytes")
        self.limit = limit


class BodyTimeout(TimeoutError):
    """The peer stopped sending in the middle of a body."""


class BodyRefused(Exception):
    """A body waited too long for room in memory."""


class BadMessage(Exception):
    """The peer's bytes are not HTTP/1.1, or a form of it that is refused on purpose."""
