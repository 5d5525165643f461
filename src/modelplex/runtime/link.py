"""The runtime's end of a socketpair: frames in and out, blocking, one at a time."""

from __future__ import annotations

import os
import socket
from array import array

from modelplex.runtime import frames


class Link:
    """Frames over a connected stream socket, which it owns."""

    def __init__(self, sock: socket.socket, body_bytes_max: int) -> None:
        sock.setblocking(True)
        self._sock = sock
        self._decoder = frames.Decoder(body_bytes_max)
        self._waiting: list[frames.Frame] = []

    def receive(self) -> frames.Frame | None:
        """The next frame; None when the other side is gone. Raises FrameError."""
        while not self._waiting:
            try:
                count = self._read(self._decoder.buffer())
            except ConnectionResetError:
                return None
            if count == 0:
                return None
            self._waiting = self._decoder.received(count)
        return self._waiting.pop(0)

    def send(
        self, kind: int, request: int = 0, meta: frames.Meta = (), body: bytes | bytearray = b""
    ) -> None:
        """Sends one frame whole. Raises FrameError before, OSError when the other side is gone."""
        for part in frames.encode(kind, request, meta, body):
            self._sock.sendall(part)

    def close(self) -> None:
        """Closes the socket. May be called twice."""
        self._sock.close()

    def _read(self, buffer: memoryview) -> int:
        return self._sock.recv_into(buffer)


class OrderLink(Link):
    """A link whose frames may bring file descriptors along (SCM_RIGHTS), at most two each."""

    def __init__(self, sock: socket.socket, body_bytes_max: int) -> None:
        super().__init__(sock, body_bytes_max)
        self._descriptors: list[int] = []

    def take_descriptors(self, count: int) -> list[int]:
        """The next `count` descriptors, close-on-exec; they are the caller's to close."""
        taken, self._descriptors = self._descriptors[:count], self._descriptors[count:]
        return taken

    def _read(self, buffer: memoryview) -> int:
        space = socket.CMSG_SPACE(2 * array("i").itemsize)
        count, ancillary, _, _ = self._sock.recvmsg_into([buffer], space)
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array("i", data[: len(data) - len(data) % array("i").itemsize])
                self._descriptors.extend(numbers)
        for descriptor in self._descriptors:
            os.set_inheritable(descriptor, False)
        return count
