"""An HTTP/1.1 client: a pool of kept-alive connections to one address."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections import deque
from collections.abc import AsyncIterable
from typing import Any

from modelplex.http.addresses import TcpAddress, UnixAddress, connect_unix, parse_address
from modelplex.http.client_connection import ClientConnection
from modelplex.http.errors import (
    BadMessage,
    BodyTimeout,
    BodyTooLarge,
    ConnectFailed,
    ConnectionLost,
)
from modelplex.http.exchange import ClientLimits, ClientResponse, OnInterim
from modelplex.http.messages import Data, Header

__all__ = [
    "BadMessage",
    "BodyTimeout",
    "BodyTooLarge",
    "Client",
    "ClientLimits",
    "ClientResponse",
    "ConnectFailed",
    "ConnectionLost",
]

_JSON_BYTES_MAX = 64 * 1024 * 1024  # of one of our own processes' answers
_CLOSE_S = 5.0


class Client:
    """Requests to one address (`unix:/path`, `tcp:host:port`, `tls:host:port`).

    A connection that is seen closed before a request is written is silently replaced. One that
    closes afterwards raises ConnectionLost: only the caller knows whether asking again is safe.
    """

    def __init__(self, address: str, limits: ClientLimits | None = None) -> None:
        self.address = address
        self._limits = limits or ClientLimits()
        self._address = parse_address(address)
        self._tls = _tls(self._address)
        self._host = _host(self._address)
        self._connections: set[ClientConnection] = set()
        self._idle: deque[ClientConnection] = deque()
        self._waiters: deque[asyncio.Future[ClientConnection | None]] = deque()
        self._opening = 0
        self._closed = False
        self._progress = asyncio.Event()  # a connection is gone
        self._reaper: asyncio.TimerHandle | None = None

    @property
    def in_use(self) -> bool:
        """Whether a request is on its way or a response is still arriving."""
        return self._opening + len(self._connections) > len(self._idle)

    async def request(
        self,
        method: str,
        target: bytes,
        headers: list[Header],
        body: Data | AsyncIterable[bytes] = b"",
        *,
        timeout_s: float | None = None,
        on_interim: OnInterim | None = None,
    ) -> ClientResponse:
        """Sends a request; returns when the response's headers are here, its body may follow.

        A bytes body gets its Content-Length; an iterable one is chunked unless `headers` have one.
        `timeout_s` is for the response's headers (default: the limits'). `on_interim` is called
        with each 1xx response. ConnectFailed, ConnectionLost, BadMessage, TimeoutError, and
        whatever iterating over the body raises.
        """
        complete = self._complete(method, headers, body)
        connection = await self._acquire()
        if timeout_s is None:
            timeout_s = self._limits.response_timeout_s
        return await connection.exchange(
            method, target, complete, body, timeout_s=timeout_s, on_interim=on_interim
        )

    async def json(
        self, method: str, target: str, document: object = None, *, timeout_s: float = 10.0
    ) -> tuple[int, Any]:
        """Sends a JSON document (None: no body); the answer's status and document, None if empty.

        `timeout_s` is for all of it. BadMessage if the answer is not JSON.
        """
        headers = [(b"accept", b"application/json")]
        body = b""
        if document is not None:
            headers.append((b"content-type", b"application/json"))
            body = json.dumps(document).encode()
        async with asyncio.timeout(timeout_s):
            response = await self.request(method, target.encode(), headers, body)
            answer = await response.read(_JSON_BYTES_MAX)
        try:
            return response.status, json.loads(answer) if answer else None
        except ValueError as error:
            raise BadMessage(
                f"{method} {target} at {self.address} was answered {response.status} with "
                f"something that is not JSON: {answer[:200]!r}"
            ) from error

    async def close(self) -> None:
        """Closes all connections; running requests fail with ConnectionLost, later ones too."""
        self._closed = True
        if self._reaper is not None:
            self._reaper.cancel()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        for connection in list(self._connections):
            connection.abort()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                while self._connections:
                    self._progress.clear()
                    await self._progress.wait()

    def _complete(
        self, method: str, headers: list[Header], body: Data | AsyncIterable[bytes]
    ) -> list[Header]:
        """The headers with Host, and with what says where the body ends."""
        names = {name for name, _ in headers}
        added: list[Header] = [] if b"host" in names else [(b"host", self._host)]
        if isinstance(body, (bytes, bytearray, memoryview)):
            if b"content-length" not in names and (body or method in ("POST", "PUT", "PATCH")):
                added.append((b"content-length", b"%d" % len(body)))
        elif b"content-length" not in names:
            added.append((b"transfer-encoding", b"chunked"))
        return [*added, *headers]

    # -- the pool --------------------------------------------------------------------------------

    async def _acquire(self) -> ClientConnection:
        while self._idle:
            connection = self._idle.pop()  # the youngest: the others may become old enough to close
            if connection.usable:
                return connection
        if self._closed:
            raise ConnectFailed(f"the client of {self.address} is closed")
        if len(self._connections) + self._opening < self._limits.connections_max:
            return await self._open()
        given = await self._wait()
        return given if given is not None and given.usable else await self._open()

    async def _wait(self) -> ClientConnection | None:
        """A connection that became free, or None: a place for a new one (or the pool's end)."""
        limits = self._limits
        if len(self._waiters) >= limits.waiters_max:
            raise ConnectFailed(f"{limits.waiters_max} requests already wait for {self.address}")
        waiter: asyncio.Future[ClientConnection | None]
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(limits.connect_timeout_s):
                return await waiter
        except asyncio.CancelledError:
            self._withdraw(waiter)
            raise
        except TimeoutError:
            self._withdraw(waiter)
            raise ConnectFailed(
                f"all {limits.connections_max} connections to {self.address} were busy for "
                f"{limits.connect_timeout_s:g} s"
            ) from None

    def _withdraw(self, waiter: asyncio.Future[ClientConnection | None]) -> None:
        """A waiter that gives up passes on what it may have been given in the same moment."""
        if waiter.cancelled():
            with contextlib.suppress(ValueError):
                self._waiters.remove(waiter)
        elif waiter.done() and (connection := waiter.result()) is not None:
            self._free(connection)
        else:
            self._next_may_open()

    async def _open(self) -> ClientConnection:
        self._opening += 1
        try:
            async with asyncio.timeout(self._limits.connect_timeout_s):
                connection = await self._connect()
        except OSError as error:  # TimeoutError and ssl.SSLError are among them
            raise ConnectFailed(f"cannot connect to {self.address}: {error!r}") from error
        finally:
            self._opening -= 1
        if self._closed or not connection.usable:
            connection.abort()
            raise ConnectFailed(f"{self.address} closed the connection at once")
        self._connections.add(connection)
        return connection

    async def _connect(self) -> ClientConnection:
        loop = asyncio.get_running_loop()
        connection = ClientConnection(self._limits, self._free, self._lost)
        match self._address:
            case UnixAddress(path):
                sock = await connect_unix(path, self._limits.connect_timeout_s)
                await loop.create_unix_connection(lambda: connection, sock=sock)
            case TcpAddress(host, port):
                await loop.create_connection(lambda: connection, host, port, ssl=self._tls)
        return connection

    def _free(self, connection: ClientConnection) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.append(connection)
        if self._reaper is None:
            self._reaper = loop.call_later(self._limits.idle_timeout_s, self._reap)

    def _lost(self, connection: ClientConnection) -> None:
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._progress.set()
        self._next_may_open()

    def _next_may_open(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _reap(self) -> None:
        """Closes what has been unused for too long; the oldest are at the left."""
        self._reaper = None
        loop = asyncio.get_running_loop()
        timeout_s = self._limits.idle_timeout_s
        while self._idle and loop.time() - self._idle[0].idle_since >= timeout_s:
            self._idle.popleft().abort()
        if self._idle:
            due = self._idle[0].idle_since + timeout_s
            self._reaper = loop.call_at(due, self._reap)


def _tls(address: UnixAddress | TcpAddress) -> ssl.SSLContext | None:
    wanted = isinstance(address, TcpAddress) and address.tls
    return ssl.create_default_context() if wanted else None


def _host(address: UnixAddress | TcpAddress) -> bytes:
    match address:
        case TcpAddress(host, port):
            return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode()
        case _:
            return b"localhost"
