"""What a connection is doing, and for how long it may.

Each is looked at every now and then. A look compares with what the one before saw, so that requests
need no bookkeeping of their own.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Protocol

from modelplex.http.outlet import Outlet
from modelplex.http.reading import Refused, ServerLimits

log = logging.getLogger(__name__)


class Line(Protocol):
    """The connection as who looks at it sees it."""

    transport: asyncio.Transport
    outlet: Outlet
    turns: int  # requests begun and ended
    seen: object  # what the last look saw,
    since: float  # and since when

    @property
    def idle(self) -> bool:
        """Whether nothing is under way, and nothing has come of a next request."""

    @property
    def deaf(self) -> bool:
        """Whether what still comes is thrown away."""

    @property
    def receiving(self) -> bool:
        """Whether a head, or a body that is to be whole, is arriving."""

    @property
    def busy(self) -> bool:
        """Whether a request is unanswered."""

    def rest(self) -> None:
        """Lets go of what an idle connection does not need."""

    def refuse(self, refused: Refused) -> None:
        """Ends it with this answer."""


def look(line: Line, limits: ServerLimits, now: float) -> None:
    """Ends what has lasted too long, and has a connection rest that is idle."""
    if line.idle:
        if line.seen != line.turns:
            line.seen, line.since = line.turns, now
        elif now - line.since > limits.idle_timeout_s:
            line.transport.close()
        else:
            line.rest()
        return
    phase, limit_s = _phase(line, limits)
    seen = phase, line.turns, line.transport.get_write_buffer_size()
    if seen != line.seen:
        line.seen, line.since = seen, now
    elif now - line.since > limit_s:
        _end(line, phase, limit_s)


def _phase(line: Line, limits: ServerLimits) -> tuple[str, float]:
    """What the connection is doing, and how many seconds it may."""
    if line.outlet.paused or line.transport.is_closing():
        return "writing", limits.write_timeout_s
    if line.deaf:
        return "ending", math.inf
    if line.receiving:
        return "reading", limits.request_read_timeout_s
    return ("answering", math.inf) if line.busy else ("idle", limits.idle_timeout_s)


def _end(line: Line, phase: str, limit_s: float) -> None:
    match phase:
        case "writing":
            log.info("http.slow_reader", extra={"timeout_s": limit_s})
            line.transport.abort()
        case "reading":
            line.refuse(Refused(408, "the request did not arrive in time"))
        case _:
            line.transport.close()
