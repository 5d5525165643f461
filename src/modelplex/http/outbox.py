"""When small answers are written: at once while there are few, else together.

A write wakes its client up, and for a moment the client, or the waking, has the core. While few
requests are under way that is right: nobody has anything else to do before the answers arrive. With
many, the answers and requests of the same turn of the event loop wait meanwhile, and with them the
processes that they go to. So then the answers of a turn are written at its end, one right after the
other, and most of them find their client awake.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelplex.http.express import Line, Reply

log = logging.getLogger(__name__)

FEW = 16  # requests under way


class Outbox:
    """Of one server. A connection is busy until its answer is written."""

    def __init__(self) -> None:
        self.under_way = 0  # express requests that are not answered
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[Reply, Line, bytes, bool]] = []

    def put(self, reply: Reply, line: Line, answer: bytes, last: bool) -> None:
        """Has a whole answer written, unless its client leaves before that."""
        if self.under_way < FEW:
            line.transport.write(answer)
            line.answered(last=last)
            return
        if not self._waiting:  # after what others do in this turn, and in the next one
            self._loop.call_soon(self._loop.call_soon, self._write)
        self._waiting.append((reply, line, answer, last))

    def _write(self) -> None:
        waiting, self._waiting = self._waiting, []
        for reply, line, answer, last in waiting:
            if reply.gone or line.transport.is_closing():
                continue
            try:
                line.transport.write(answer)
                line.answered(last=last or line.closing)
            except Exception:  # the others' answers must not be lost with it
                log.critical("http.defect", exc_info=True)
                line.transport.abort()
