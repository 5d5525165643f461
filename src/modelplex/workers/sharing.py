"""The arena of a channel, on the side that asks for it: from the question to its end.

Its memory goes back to the machine when no large body has come or gone for a while, so that what a
thousand idle workers keep of it is an empty mapping.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

from modelplex.runtime.arena import Arena
from modelplex.runtime.link import Rights

ARENAS_MAX = 64  # asked for by one process; the bodies of further channels go through their sockets
_REST_S = 10.0  # without a large body, until the memory goes back

_living: set[Sharing] = set()


class Sharing:
    """Made by `ask`, when the other side is about to be asked."""

    def __init__(self, sock: socket.socket, busy: Callable[[], bool]) -> None:
        self.arena: Arena | None = None
        self._busy = busy
        self._loop = asyncio.get_running_loop()
        self._rights = Rights(sock)
        self._rest: asyncio.TimerHandle | None = None
        self._used = False  # since the timer was set

    def receive(self, view: memoryview) -> int:
        """As `recv_into`, until the answer is there. Keeps one descriptor that comes along."""
        count = self._rights.take(view)
        for surplus in self._rights.descriptors[1:]:
            os.close(surplus)
        del self._rights.descriptors[1:]
        return count

    def begin(self) -> None:
        """The other side has answered. Raises ArenaError or OSError if it sent no arena."""
        for descriptor in self._rights.take_descriptors(1):
            try:
                self.arena = Arena(descriptor, asker=True, on_use=self._begun)
            finally:
                os.close(descriptor)

    def close(self) -> None:
        """Gives back all that it holds."""
        _living.discard(self)
        for descriptor in self._rights.take_descriptors(1):
            os.close(descriptor)
        if self._rest is not None:
            self._rest.cancel()
        if self.arena is not None:
            self.arena.close()

    def _begun(self) -> None:
        self._used = True
        if self._rest is None:
            self._rest = self._loop.call_later(_REST_S, self._look)

    def _look(self) -> None:
        """Was it used since the last look? Else its memory can go, unless a body is on its way."""
        assert self.arena is not None
        self._rest = None
        used, self._used = self._used, False
        self.arena.rested()
        if used or self._busy() or not self.arena.all_read:
            self._rest = self._loop.call_later(_REST_S, self._look)
        else:
            self.arena.empty()


def ask(sock: socket.socket, busy: Callable[[], bool]) -> Sharing | None:
    """For a channel over `sock`; None where no arena is to be had. `busy`: whether a body may be on
    its way."""
    if len(_living) >= ARENAS_MAX:
        return None
    sharing = Sharing(sock, busy)
    _living.add(sharing)
    return sharing
