"""Large bodies on their way in: from the socket into the place where they will be whole."""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable
from typing import Protocol, cast

from modelplex.http.room import Room


class Line(Protocol):
    """The connection as an intake sees it."""

    transport: asyncio.Transport

    def late(self, *, slow: bool) -> None:
        """The body came too slowly while others wanted its room, or waited for room too long."""


class Intake(asyncio.BufferedProtocol):
    """Takes the place of a connection while a large body comes.

    Its buffer is as long as the body from the beginning, so that nothing is copied when more
    comes; the kernel gives memory for it only where bytes have come. They come no faster than the
    room grants; its claim stays with the body until that is answered.
    """

    __slots__ = ("_buffer", "_done", "_filled", "_granted", "_line", "_room", "_view", "claim")

    def __init__(
        self,
        line: Line,
        room: Room,
        length: int,
        done: Callable[[bytearray], None],
    ) -> None:
        """`length`: of the body; `done` is called with it when it is there. Raises MemoryError."""
        self._buffer = _unfilled(length)
        now = asyncio.get_running_loop().time()
        self.claim = room.open(self, length, now)
        self._line = line
        self._room = room
        self._done = done
        self._filled = 0
        self._granted = 0
        self._view = memoryview(self._buffer)

    def enter(self, begin: bytes) -> None:
        """Takes over; `begin` is what has come of the body already."""
        self._filled = len(begin)
        self._view[: self._filled] = begin
        self._room.take(self.claim, self._filled)
        self._switch(self, resume=self._grant(self.claim.since))

    def leave(self) -> None:
        """Gives the connection its place back, and lets go of the body."""
        self._view.release()
        del self._buffer, self._done
        self._switch(cast(asyncio.Protocol, self._line), resume=True)

    def _grant(self, now: float) -> bool:
        granted = self._room.grant(self.claim, self._filled, now)
        self._granted = self.claim.held
        return granted

    # -- calls of the room -----------------------------------------------------------------------

    def moved(self) -> int:
        return self._filled

    def evict(self, *, slow: bool) -> None:
        self._line.late(slow=slow)

    def proceed(self) -> None:
        if self._grant(0.0) and not self._line.transport.is_closing():
            self._line.transport.resume_reading()

    def _switch(self, protocol: asyncio.BaseProtocol, *, resume: bool) -> None:
        """uvloop chooses how to read when reading begins, so it begins anew."""
        transport = self._line.transport
        if not transport.is_closing():
            transport.pause_reading()
            transport.set_protocol(protocol)
            if resume:
                transport.resume_reading()

    # -- asyncio's calls -------------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view[self._filled : self._granted]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        if self._filled == self.claim.whole:
            self.claim.settled = True
            done, buffer = self._done, self._buffer
            self.leave()
            done(buffer)
        elif self._filled == self._granted:
            now = asyncio.get_running_loop().time()
            if not self._grant(now):
                self._line.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        cast(asyncio.Protocol, self._line).connection_lost(exc)

    def pause_writing(self) -> None:
        cast(asyncio.Protocol, self._line).pause_writing()

    def resume_writing(self) -> None:
        cast(asyncio.Protocol, self._line).resume_writing()


_new_bytearray = ctypes.pythonapi.PyByteArray_FromStringAndSize
_new_bytearray.argtypes = (ctypes.c_char_p, ctypes.c_ssize_t)
_new_bytearray.restype = ctypes.py_object


def _unfilled(size: int) -> bytearray:
    """A bytearray whose bytes are nobody's yet: `bytearray(size)` would touch all its pages."""
    return cast(bytearray, _new_bytearray(None, size))
