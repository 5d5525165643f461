"""One stream of bytes, asked of servers that should all see the same requests in it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

from modelplex.http.express import Receiver
from modelplex.http.messages import Data, Request, Response
from modelplex.http.server import Reply, Server, ServerLimits, serve

_QUIET_TURNS = 8  # of the event loop without a byte: nothing more will come
_TURNS_MAX = 4000  # a server that goes on for longer than this hangs
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_BODY_MAX = 1024 * 1024  # bytes
_LENGTH = re.compile(rb"content-length: (\d+)")


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as a server handed it over; whoever answers it sends this back."""

    method: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    @classmethod
    def of(cls, request: Request, body: Data) -> Seen:
        """Without Expect, which ends at the server and is gone once permission was given."""
        kept = tuple(header for header in request.headers if header[0] != b"expect")
        return cls(request.method, request.target, kept, bytes(body))


class Sides:
    """Two servers over one record of what they see: the ordinary way, and the short way."""

    def __init__(self, folder: str) -> None:
        self.seen: list[Seen] = []
        self._folder = folder
        self.servers: dict[str, Server] = {}

    async def start(self) -> None:
        """Listens."""
        limits = ServerLimits(headers_bytes_max=16 * 1024)
        ordinary, short = self.address("ordinary"), self.address("express")
        self.servers["ordinary"] = await serve(self._handle, f"unix:{ordinary}", limits)
        self.servers["express"] = await serve(
            self._handle, f"unix:{short}", limits, express=self._express
        )

    async def close(self) -> None:
        """Ends both servers."""
        for server in self.servers.values():
            await server.close(0)

    def address(self, side: str) -> str:
        """The socket's file."""
        return f"{self._folder}/{side}.sock"

    async def ask(self, side: str, pieces: list[bytes]) -> tuple[list[Seen], list[int], bool]:
        """Requests seen, statuses of the refusals, and whether the server closed."""
        self.seen = []
        output, closed = await _talk(self.address(side), pieces)
        return self.seen, _statuses(output), closed

    def _express(self, request: Request) -> Receiver | None:
        """What is too long goes the ordinary way, to be refused there, as with all our servers."""
        return self._receive if (request.length or 0) <= _BODY_MAX else None

    def _receive(self, request: Request, body: Data, reply: Reply) -> None:
        self.seen.append(Seen.of(request, body))
        reply.send(200, b"", b"seen")

    async def _handle(self, request: Request) -> Response:
        body = await request.body.read(_BODY_MAX)
        self.seen.append(Seen.of(request, body))
        return Response(200, [], b"seen")


@contextlib.asynccontextmanager
async def sides(folder: str) -> AsyncIterator[Sides]:
    """Both servers, closed in the end."""
    both = Sides(folder)
    await both.start()
    try:
        yield both
    finally:
        await both.close()


async def _talk(path: str, pieces: list[bytes]) -> tuple[bytes, bool]:
    """Sends every piece so that it is read alone; what comes back until nothing more does."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.setblocking(False)
        sock.connect(path)
        output = bytearray()
        closed = False
        for piece in pieces:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                sock.send(piece)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        quiet = 0
        for _ in range(_TURNS_MAX):
            got = _receive(sock)
            closed = closed or got == b""
            output += got or b""
            quiet = 0 if got else quiet + 1
            if closed or quiet > _QUIET_TURNS:
                return bytes(output), closed
            await asyncio.sleep(0)
    raise AssertionError(f"the server goes on and on: {bytes(output[-200:])!r}")


def _receive(sock: socket.socket) -> bytes | None:
    """What there is; b"" if the server has closed, None if there is nothing."""
    try:
        return sock.recv(1 << 20)
    except BlockingIOError:
        return None
    except ConnectionResetError:
        return b""


def _statuses(output: bytes) -> list[int]:
    """The statuses of well-formed answers; AssertionError if they are not."""
    output = output.replace(_CONTINUE, b"")
    statuses = []
    while output:
        head, end, rest = output.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        assert end, output
        assert length, output
        assert head.startswith(b"HTTP/1.1 "), output
        status, size = int(head[9:12]), int(length[1])
        body = b"" if rest.startswith(b"HTTP/1.1 ") or not rest else rest[:size]  # HEAD has none
        assert status == 200 or not body or "message" in json.loads(body), output
        statuses.append(status)
        output = rest[len(body) :]
    return statuses
