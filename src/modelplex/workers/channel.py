"""Frames over a socketpair in asyncio: the host's end."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import cast

from modelplex.runtime import frames

log = logging.getLogger(__name__)


class Channel(asyncio.BufferedProtocol):
    """Calls `on_frame` for each frame. Received bytes go straight into the frame's body.

    What is written is not limited here: a worker gets one request at a time.
    """

    def __init__(self, on_frame: Callable[[frames.Frame], None], body_bytes_max: int) -> None:
        self._on_frame = on_frame
        self._decoder = frames.Decoder(body_bytes_max)
        self._transport: asyncio.Transport | None = None
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(self, sock: socket.socket) -> None:
        """Takes over a connected socket, and owns it from now on."""
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: self, sock=sock)

    def send(
        self, kind: int, request: int = 0, meta: frames.Meta = (), body: bytes | bytearray = b""
    ) -> None:
        """Sends a frame; without effect when the connection is lost. Raises FrameError."""
        parts = frames.encode(kind, request, meta, body)
        if self._transport is None or self.lost.done():
            return
        if len(parts) == 1:
            self._transport.write(parts[0])
        else:
            self._transport.writelines(parts)

    def close(self) -> None:
        """Closes the connection without waiting for what was not yet written."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's word that the socket is ready."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where asyncio shall put what it receives."""
        return self._decoder.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """asyncio's word that it has put `nbytes` there."""
        try:
            received = self._decoder.received(nbytes)
        except frames.FrameError as error:
            log.error("channel.bad_frame", extra={"error": str(error)})
            self.close()
            return
        for frame in received:
            self._on_frame(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's word that the other side is gone, or that `close` was called."""
        if not self.lost.done():
            self.lost.set_result(None)
