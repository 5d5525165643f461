"""The runtime's end of a socketpair: frames in and out, blocking, one at a time."""

from __future__ import annotations

import os
import socket
from array import array
from collections import deque
from typing import Any, Callable, Deque, Sequence

from modelplex.runtime import arena, frames
from modelplex.runtime.arena import Arena

_BUFFERS_MAX = 512  # of one system call; the kernel's own limit is 1024
_WHOLE = int(socket.MSG_WAITALL)


class Link:
    """Frames over a connected stream socket, which it owns."""

    def __init__(self, sock: socket.socket, body_bytes_max: int) -> None:
        sock.setblocking(True)
        self._sock = sock
        # Not a method: one call less for every request.
        self._take: Callable[[memoryview, int, int], int] = sock.recv_into
        self._decoder = frames.Decoder(body_bytes_max, late=True)
        self.arena: Arena | None = None  # where large bodies can be left for the other side
        self._waiting: Deque[frames.Frame] = deque()

    def receive(self) -> frames.Frame | None:
        """The next frame; None when the other side is gone. Raises FrameError."""
        decoder = self._decoder
        while not self._waiting:
            try:
                count = self._take(decoder.view, 0, _WHOLE if decoder.in_body else 0)
            except ConnectionResetError:
                return None
            if count == 0:
                return None
            received = decoder.received(count)
            if len(received) == 1:
                return received[0]
            self._waiting.extend(received)
        return decoder.whole(self._waiting.popleft())

    def send(self, parts: list[frames.Data]) -> None:
        """Sends encoded frames whole. Raises OSError when the other side is gone."""
        if len(parts) == 1:
            self._sock.sendall(parts[0])
            return
        for at in range(0, len(parts), _BUFFERS_MAX):
            some = parts[at : at + _BUFFERS_MAX]
            sent = self._sock.sendmsg(some)
            for part in some:
                if sent < len(part):
                    self._sock.sendall(memoryview(part)[sent:])
                sent = max(0, sent - len(part))

    def share(self) -> None:
        """SHARE_MEMORY has come: at first as a question, then to say that the arena is good.

        Raises OSError when the other side is gone.
        """
        if self._decoder.arena is not None:
            self.arena = self._decoder.arena
            return
        self._decoder.arena, descriptors = arena.offer()
        self._sock.sendmsg(frames.encode(frames.SHARE_MEMORY, 0), rights(descriptors))
        for descriptor in descriptors:
            os.close(descriptor)

    def report(self, kind: int, request: int = 0, body: frames.Data = b"", **values: Any) -> None:
        """Sends a report. Raises FrameError before, OSError when the other side is gone."""
        self.send(frames.order(kind, request, body, **values))

    def close(self) -> None:
        """Closes the socket. May be called twice."""
        self._sock.close()


class OrderLink(Link):
    """A link whose frames may bring file descriptors along (SCM_RIGHTS), at most two each."""

    def __init__(self, sock: socket.socket, body_bytes_max: int) -> None:
        super().__init__(sock, body_bytes_max)
        self._rights = Rights(sock)
        self._take = self._rights.take
        self.take_descriptors = self._rights.take_descriptors


class Rights:
    """Reads a socket, and keeps the descriptors that come along."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.descriptors: list[int] = []

    def take_descriptors(self, count: int) -> list[int]:
        """The next `count` descriptors, close-on-exec; they are the caller's to close."""
        taken, self.descriptors[:count] = self.descriptors[:count], []
        return taken

    def take(self, view: memoryview, _count: int = 0, _flags: int = 0) -> int:
        """As `recv_into`."""
        space = socket.CMSG_SPACE(2 * array("i").itemsize)
        count, ancillary, _, _ = self._sock.recvmsg_into([view], space)
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array("i", data[: len(data) - len(data) % array("i").itemsize])
                self.descriptors.extend(numbers)
        for descriptor in self.descriptors:
            os.set_inheritable(descriptor, False)
        return count


def rights(descriptors: Sequence[int]) -> list[tuple[int, int, array[int]]]:
    """The ancillary message that carries descriptors along."""
    if not descriptors:
        return []
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))]
