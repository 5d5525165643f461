"""Frames over a socketpair: the host's end, straight on the event loop's readiness.

Without a transport between: a request is written at once instead of after the other callbacks of
the loop's turn, and nothing is allocated for it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from array import array
from collections import deque
from collections.abc import Callable, Sequence

from modelplex.runtime import frames

log = logging.getLogger(__name__)

_BUFFERS_MAX = 512  # of one system call; the kernel's own limit is 1024
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

    def open(self, sock: socket.socket) -> None:
        """Takes over a connected socket, and owns it from now on."""
        sock.setblocking(False)
        self._sock = sock
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
                sent = self._sock.sendmsg(parts[:_BUFFERS_MAX], _rights(descriptors))
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

    def close(self) -> None:
        """Closes the connection without waiting for what was not yet written."""
        if self._sock is None:
            return
        sock, self._sock = self._sock, None
        self._loop.remove_reader(sock.fileno())
        self._loop.remove_writer(sock.fileno())
        sock.close()
        self._unsent.clear()
        if not self.lost.done():
            self.lost.set_result(None)

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
                received = decoder.received(self._sock.recv_into(decoder.view) or _gone())
            except BlockingIOError:
                return
            except OSError:
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
    raise ConnectionResetError


def _rest(parts: Sequence[frames.Data], sent: int) -> list[memoryview]:
    """What is left of some buffers when so many bytes of them were sent."""
    rest = []
    for part in parts:
        if sent < len(part):
            rest.append(memoryview(part)[sent:])
        sent = max(0, sent - len(part))
    return rest


def _rights(descriptors: Sequence[int]) -> list[tuple[int, int, array[int]]]:
    """The ancillary message that carries descriptors along."""
    if not descriptors:
        return []
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))]
