"""What can be had at best: a bare httptools echo, and one with a hop to a worker process.

The second is what any server must do that answers from another process: parse the request, send
the body through a socketpair with a length before it, read it back, answer. No headers cross, no
queue, no limits, no log.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httptools
import uvloop

from tests.support.processes import eventually, free_port

_SIZE = struct.Struct("!I")
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n"


class _Echo(asyncio.Protocol):
    """Answers with the body it got."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport  # uvloop's transports are not asyncio's
        self.parser = httptools.HttpRequestParser(self)
        self.body: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self.body.append(data)

    def on_message_complete(self) -> None:
        body = b"".join(self.body)
        self.body.clear()
        self.answer(body)

    def answer(self, body: bytes) -> None:
        """The whole body is here."""
        self.transport.write(_HEAD % len(body) + body)


class _Hop(asyncio.Protocol):
    """The server's end of the socketpair: answers come in the order of the questions."""

    def __init__(self) -> None:
        self.waiting: deque[Any] = deque()
        self.buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def ask(self, body: bytes, transport: Any) -> None:
        """Sends a body to the worker; what comes back goes to `transport`."""
        self.waiting.append(transport)
        self.transport.write(_SIZE.pack(len(body)) + body)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while len(self.buffer) >= _SIZE.size:
            end = _SIZE.size + _SIZE.unpack_from(self.buffer)[0]
            if len(self.buffer) < end:
                return
            body = bytes(self.buffer[_SIZE.size : end])
            del self.buffer[:end]
            client = self.waiting.popleft()
            if not client.is_closing():  # it may have left with its request under way
                client.write(_HEAD % len(body) + body)


class _HopEcho(_Echo):
    """An echo that has the body carried to another process and back."""

    hop: _Hop

    def answer(self, body: bytes) -> None:
        self.hop.ask(body, self.transport)


def _work(sock: socket.socket) -> None:
    """The other end: reads a body, sends it back."""
    reader = sock.makefile("rb", buffering=256 * 1024)
    try:
        while head := reader.read(_SIZE.size):
            sock.sendall(head + reader.read(_SIZE.unpack(head)[0]))
    finally:
        os._exit(0)


def _serve_bare(port: int) -> None:
    uvloop.run(_listen(_Echo, port))


def _serve_hop(port: int) -> None:
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        _work(theirs)
    theirs.close()
    uvloop.run(_listen_with_hop(ours, port))


async def _listen_with_hop(sock: socket.socket, port: int) -> None:
    _, hop = await asyncio.get_running_loop().create_unix_connection(_Hop, sock=sock)
    _HopEcho.hop = hop
    await _listen(_HopEcho, port)


async def _listen(protocol: Callable[[], asyncio.Protocol], port: int) -> None:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", port)
    await server.serve_forever()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def _running(serve: Callable[[int], None]) -> Iterator[str]:
    port = free_port()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(port,))
    process.start()
    try:
        eventually(lambda: _listens(port), what="the floor listens")
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.join()


def bare() -> Any:
    """A context manager: the bare echo as a process of its own; its URL."""
    return _running(_serve_bare)


def one_hop() -> Any:
    """A context manager: the echo with one hop to a worker; its URL."""
    return _running(_serve_hop)
