"""Where requests wait that ask for something new, so that those which others have asked before do
not wait behind them.

Many cold models wanted at one moment are as many signatures, look-ups and frames, all in one turn
of the event loop, before the warm requests that come during it. Their loads take much longer than
the lobby: one of them is let in per turn, and in between whatever has come is served.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from modelplex.gateway.passage import Passage
from modelplex.http.messages import Data

LetIn = Callable[[Passage, Data], None]


class _Guest(NamedTuple):
    passage: Passage
    body: Data


class Lobby:
    """`let_in` is called with each request in the order of their coming, unless its client left.

    There are never more than there are connections: each has one request under way.
    """

    def __init__(self, let_in: LetIn) -> None:
        self._let_in = let_in
        self._guests: deque[_Guest] = deque()
        self._loop = asyncio.get_running_loop()

    def wait(self, passage: Passage, body: Data) -> None:
        """The request is let in when it is its turn, never in this call."""
        if not self._guests:
            self._loop.call_soon(self._next)
        self._guests.append(_Guest(passage, body))

    def _next(self) -> None:
        guest = self._guests.popleft()
        if self._guests:
            self._loop.call_soon(self._next)
        if not guest.passage.sink.gone:
            self._let_in(guest.passage, guest.body)
