"""Frames over a socketpair: the host's end, straight on the event loop's readiness.

Without a transport between: a request is written at once instead of after the other callbacks of
the loop's turn, and nothing is allocated for it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence

from modelplex.runtime import arena, frames
from modelplex.runtime.arena import Arena, ArenaError
from modelplex.runtime.link import rights
from modelplex.workers import sharing
from modelplex.workers.sharing import Sharing

log = logging.getLogger(__name__)

_BUFFERS_MAX = 512  # of one system call; the kernel's own limit is 1024
_GIVE_LATER_S = 0.05  # until an arena is offered again to who does not read
_READS = 8  # of a body in a row, before others get their turn


class Channel:
    """Calls `on_frame` for each frame. Received bytes go straight into the frame's body.

    What is written is not limited here: a worker gets a few batches at a time.
    """

    def __init__(self, on_frame: Callable[[frames.Frame], None], body_bytes_max: int) -> None:
        self._on_frame = on_frame
        self._decoder = frames.Decoder(body_bytes_max)
        self._loop = asyncio.get_running_loop()
        self._sock: socket.socket | None = None
        self._unsent: deque[memoryview] = deque()
        self._later: list[frames.Data] = []  # to be sent at the end of this turn of the loop
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self.arena: Arena | None = None  # where large bodies can be left for the other side
        self._sharing: Sharing | None = None
        self._take: Callable[[memoryview], int]  # reads the socket, once there is one
        self.reset = False  # lost, and the other side had not read all that it was sent

    def open(self, sock: socket.socket) -> None:
        """Takes over a connected socket, and owns it from now on."""
        sock.setblocking(False)
        self._sock = sock
        self._take = sock.recv_into
        self._loop.add_reader(sock.fileno(), self._read)

    def send(self, parts: Sequence[frames.Data], descriptors: Sequence[int] = ()) -> None:
        """Sends encoded frames; without effect when the connection is lost."""
        if self._sock is None:
            return
        if self._later:
            parts, self._later = [*self._later, *parts], []
        if self._unsent:
            self._unsent.extend(map(memoryview, parts))
            return
        try:
            if len(parts) == 1 and not descriptors:
                sent = self._sock.send(parts[0])
            else:
                sent = self._sock.sendmsg(parts[:_BUFFERS_MAX], rights(descriptors))
        except BlockingIOError:
            sent = 0
        except OSError:  # the other side is gone: reading tells
            return
        if len(parts) > 1 or sent < len(parts[0]):
            self._keep(parts, sent)

    def send_later(self, parts: Sequence[frames.Data]) -> None:
        """The same at the end of this turn of the loop, with what else comes until then: one system
        call, for a process that is not waiting for it."""
        if not self._later:
            self._loop.call_soon(self._flush)
        self._later += parts

    @property
    def backed_up(self) -> bool:
        """Whether the other side has not taken yet what was sent."""
        return bool(self._unsent)

    def want_arena(self, busy: Callable[[], bool]) -> None:
        """Asks the other side for an arena, once. It answers with SHARE_MEMORY, on which
        `take_arena` is to be called. `busy`: whether a body may be on its way."""
        if self._sharing is not None or self._sock is None:
            return
        self._sharing = sharing.ask(self._sock, busy)
        if self._sharing is not None:
            self._take = self._sharing.receive
            self.send(frames.encode(frames.SHARE_MEMORY, 0))

    def take_arena(self) -> None:
        """SHARE_MEMORY has come as an answer, with an arena or without."""
        if self._sharing is None or self._sock is None or self.arena is not None:
            return
        self._take = self._sock.recv_into
        try:
            self._sharing.begin()
        except (ArenaError, OSError) as error:
            log.warning("channel.no_arena", extra={"reason": str(error)})
        self.arena = self._decoder.arena = self._sharing.arena
        if self.arena is not None:
            self.send(frames.encode(frames.SHARE_MEMORY, 0))

    def give_arena(self) -> None:
        """SHARE_MEMORY has come: at first as a question, then to say that the arena is good."""
        self._flush()
        if self._sock is None:
            return
        if self._decoder.arena is not None:
            self.arena = self._decoder.arena
            return
        if self._unsent:  # a descriptor goes along with bytes that are sent at once
            self._loop.call_later(_GIVE_LATER_S, self.give_arena)
            return
        self._decoder.arena, descriptors = arena.offer()
        self.send(frames.encode(frames.SHARE_MEMORY, 0), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)

    def close(self) -> None:
        """Closes the connection without waiting for what was not yet written."""
        if self._sock is None:
            return
        sock, self._sock = self._sock, None
        self._loop.remove_reader(sock.fileno())
        self._loop.remove_writer(sock.fileno())
        sock.close()
        self._unsent.clear()
        self._close_arena()
        self._decoder.close()
        if not self.lost.done():
            self.lost.set_result(None)

    def _close_arena(self) -> None:
        shared, self._decoder.arena = self._decoder.arena, None
        self.arena = None
        if self._sharing is not None:
            self._sharing.close()
        elif shared is not None:
            shared.close()

    def _flush(self) -> None:
        if self._later:
            parts, self._later = self._later, []
            self.send(parts)

    def _keep(self, parts: Sequence[frames.Data], sent: int) -> None:
        """Holds what was not sent until the socket takes more."""
        self._unsent.extend(_rest(parts, sent))
        if self._unsent and self._sock is not None:
            self._loop.add_writer(self._sock.fileno(), self._write)

    def _write(self) -> None:
        assert self._sock is not None
        parts = [self._unsent.popleft() for _ in range(min(len(self._unsent), _BUFFERS_MAX))]
        try:
            sent = self._sock.sendmsg(parts)
        except BlockingIOError:
            sent = 0
        except OSError:  # the other side is gone: reading tells
            sent = sum(map(len, parts))
        self._unsent.extendleft(reversed(_rest(parts, sent)))
        if not self._unsent:
            self._loop.remove_writer(self._sock.fileno())

    def _read(self) -> None:
        """Takes what is there; of a large body several times what the kernel holds."""
        decoder = self._decoder
        for _ in range(_READS):
            if self._sock is None:
                return
            try:
                received = decoder.received(self._take(decoder.view) or _gone())
            except BlockingIOError:
                return
            except OSError as error:
                self.reset = isinstance(error, ConnectionResetError)
                self.close()
                return
            except frames.FrameError as error:
                log.error("channel.bad_frame", extra={"error": str(error)})
                self.close()
                return
            for frame in received:
                self._on_frame(frame)
            if not decoder.in_body:
                return


def _gone() -> int:
    raise BrokenPipeError


def _rest(parts: Sequence[frames.Data], sent: int) -> list[memoryview]:
    """What is left of some buffers when so many bytes of them were sent."""
    rest = []
    for part in parts:
        if sent < len(part):
            rest.append(memoryview(part)[sent:])
        sent = max(0, sent - len(part))
    return rest
