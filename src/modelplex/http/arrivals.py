"""Bodies of the short way that did not come whole with their heads, or are worth counting.

A large one comes into a buffer of its own (`Intake`), all others piece by piece (`Pieces`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from modelplex.http.intake import Intake, Line
from modelplex.http.reading import Refused
from modelplex.http.room import RATE_MIN, WAIT_S, Claim, Room
from modelplex.http.writing import NO_ROOM

COUNTED_MIN = 16 * 1024  # bytes; smaller bodies are not counted: connections_max bounds them
_INTAKE_MIN = 64 * 1024  # bytes of a body still to come: from here on they go to its own buffer

Done = Callable[[bytes | bytearray], None]


class Pieces:
    """A body that is gathered from what its connection receives."""

    __slots__ = ("_done", "_line", "_missing", "_pieces", "claim")

    def __init__(self, line: Line, room: Room, length: int, done: Done) -> None:
        """`length`: of the body; `done` is called with it when it is there."""
        self.claim: Claim | None = None  # what it has of the room, if it counts
        self._line = line
        self._missing = length
        self._pieces: list[bytes] = []
        self._done = done
        if length > COUNTED_MIN:
            self.claim = room.open(self, length, asyncio.get_running_loop().time())
            room.take(self.claim, length)

    def enter(self, begin: bytes) -> None:
        """`begin` is what has come of the body already, perhaps all."""
        self.add(begin)

    def add(self, data: bytes) -> bytes:
        """Takes what is its own; the rest, which is there only behind the end of the body."""
        own = data if len(data) <= self._missing else data[: self._missing]
        self._missing -= len(own)
        self._pieces.append(own)
        if not self._missing:
            self._end()
        return data[len(own) :]

    def leave(self) -> None:
        """Nobody waits for it any more."""
        self._pieces = []

    def _end(self) -> None:
        pieces, self._pieces = self._pieces, []
        if self.claim is not None:
            self.claim.settled = True
        self._done(b"".join(pieces))

    # -- calls of the room -----------------------------------------------------------------------

    def moved(self) -> int:
        return sum(map(len, self._pieces))

    def proceed(self) -> None:
        """It does not wait for room: there was enough when it began."""

    def evict(self, *, slow: bool) -> None:
        self._line.late(slow=slow)


def arrival(line: Line, room: Room, length: int, begun: int, done: Done) -> Pieces | Intake:
    """What takes in a body of which `begun` bytes are here. Raises Refused: there is no room, or
    nowhere so much memory."""
    if length > COUNTED_MIN and not room.fits(min(length, begun + _INTAKE_MIN)):
        raise Refused(503, NO_ROOM)
    if length <= COUNTED_MIN or length - begun < _INTAKE_MIN:
        return Pieces(line, room, length, done)
    try:
        return Intake(line, room, length, done)
    except MemoryError:
        raise Refused(413, f"there is no memory for a body of {length} bytes") from None


def too_late(*, slow: bool) -> Refused:
    """Why a body on its way in loses its room: it is too slow, or has waited too long."""
    if slow:
        rate = f"the body comes slower than {RATE_MIN} bytes/s while others wait for room"
        return Refused(408, rate)
    return Refused(503, f"waited {WAIT_S:g} s for room: {NO_ROOM}")
