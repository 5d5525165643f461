"""Answers that their clients do not take: counted whole, and lying in one place."""

from __future__ import annotations

import asyncio
import socket

from modelplex.http.messages import Data, Request
from modelplex.http.server import Reply
from tests.http.conftest import Start
from tests.http.test_express import never
from tests.http.test_server import GET

SIZE = 6_000_000


async def test_the_kernel_takes_little_of_what_a_client_does_not(start: Start) -> None:
    """What it took would be there twice, and not be counted the second time."""
    replies: list[asyncio.Transport] = []

    def receive(_: Request, __: Data, reply: Reply) -> None:
        assert reply.line is not None
        replies.append(reply.line.transport)
        reply.send(200, b"", bytes(SIZE))

    server = await start(never, "tcp:127.0.0.1:0", express=lambda _: receive)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.sendall(GET)
        while not server.room.used:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)  # for the kernel to take what it will
        assert server.room.used >= SIZE * 9 // 10
        assert replies[0].get_write_buffer_size() >= SIZE * 4 // 5
    while server.room.used:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
