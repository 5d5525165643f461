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
from modelplex.http.errors import BadMessage, ConnectFailed
from modelplex.http.exchange import ClientLimits, ClientResponse, Exchange
from modelplex.http.messages import Data, Header, encode_head, first

__all__ = ["Client", "ClientLimits", "ClientResponse"]

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
        self._places = asyncio.Semaphore(self._limits.connections_max)  # for requests
        self._waiting = 0  # requests without a place
        self._busy = 0  # requests with one
        self._closed = False
        self._progress = asyncio.Event()  # a connection is gone

    @property
    def in_use(self) -> bool:
        """Whether a request is on its way or a response is still arriving."""
        return self._busy > 0

    async def request(
        self,
        method: str,
        target: bytes,
        headers: list[Header],
        body: Data | AsyncIterable[bytes] = b"",
        *,
        timeout_s: float | None = None,
    ) -> ClientResponse:
        """Sends a request; returns when the response's headers are here, its body may follow.

        A bytes body gets its Content-Length; an iterable one is chunked unless `headers` have one.
        `timeout_s` is for the response's headers (default: the limits'). 1xx responses
        are dropped. ConnectFailed, ConnectionLost, BadMessage, TimeoutError, and
        whatever iterating over the body raises.
        """
        headers = self._complete(method, headers, body)
        head = encode_head(b"%s %s HTTP/1.1" % (method.encode(), target), headers)
        connection = await self._acquire()
        exchange = Exchange(
            asyncio.get_running_loop().create_future(),
            self._limits.response_timeout_s if timeout_s is None else timeout_s,
            bodiless=method == "HEAD",
        )
        return await connection.carry(exchange, head, body, first(headers, b"content-length"))

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
        """A place and a connection; `_free` or `_lost` gives the place back."""
        if self._waiting or self._busy >= self._limits.connections_max:
            await self._wait()
        else:
            await self._places.acquire()
        self._busy += 1
        while self._idle:
            connection = self._idle.pop()  # the youngest: the others may become old enough to close
            if connection.usable:
                return connection
            self._connections.discard(connection)  # it held no place: `_lost` has none to give back
        try:
            if self._closed:
                raise ConnectFailed(f"the client of {self.address} is closed")
            return await self._open()
        except BaseException:
            self._leave()
            raise

    async def _wait(self) -> None:
        limits = self._limits
        if self._waiting >= limits.waiters_max:
            raise ConnectFailed(f"{limits.waiters_max} requests already wait for {self.address}")
        self._waiting += 1
        try:
            async with asyncio.timeout(limits.connect_timeout_s):
                await self._places.acquire()
        except TimeoutError:
            raise ConnectFailed(
                f"all {limits.connections_max} connections to {self.address} were busy for "
                f"{limits.connect_timeout_s:g} s"
            ) from None
        finally:
            self._waiting -= 1

    def _leave(self) -> None:
        self._busy -= 1
        self._places.release()

    async def _open(self) -> ClientConnection:
        try:
            async with asyncio.timeout(self._limits.connect_timeout_s):
                connection = await self._connect()
        except OSError as error:  # TimeoutError and ssl.SSLError are among them
            raise ConnectFailed(f"cannot connect to {self.address}: {error!r}") from error
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
        self._idle.append(connection)
        self._leave()

    def _lost(self, connection: ClientConnection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)
        elif connection in self._connections:
            self._leave()
        self._connections.discard(connection)
        self._progress.set()


def _tls(address: UnixAddress | TcpAddress) -> ssl.SSLContext | None:
    wanted = isinstance(address, TcpAddress) and address.tls
    return ssl.create_default_context() if wanted else None


def _host(address: UnixAddress | TcpAddress) -> bytes:
    match address:
        case TcpAddress(host, port):
            return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode()
        case _:
            return b"localhost"
