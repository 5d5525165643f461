"""A client that sends exactly the bytes it is told to."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType


class Raw:
    """`async with Raw(address) as raw`: one connection, closed in the end."""

    def __init__(self, address: str) -> None:
        self._path = address.removeprefix("unix:")
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def __aenter__(self) -> Raw:
        self.reader, self.writer = await asyncio.open_unix_connection(self._path)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> bytes:
        """Up to and without the next empty line."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 30)
        return head[:-4]

    async def response(self) -> tuple[int, bytes]:
        """Status and body of a response with a Content-Length."""
        head = await self.head()
        length = next(
            int(line.partition(b":")[2])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length")
        )
        body = await asyncio.wait_for(self.reader.readexactly(length), 30)
        return int(head.split(b" ")[1]), body

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        try:
            return await asyncio.wait_for(self.reader.read(), 30)
        except ConnectionResetError:
            return b""
