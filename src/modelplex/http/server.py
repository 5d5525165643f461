"""An HTTP/1.1 server on a TCP or Unix socket: `serve(handler, address, limits)`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl

from modelplex.http.addresses import UnixAddress, listen, parse_address
from modelplex.http.connection import ServerConnection
from modelplex.http.express import Express, Reply
from modelplex.http.messages import Handler
from modelplex.http.reading import ServerLimits

__all__ = ["Express", "Reply", "Server", "ServerLimits", "serve"]

log = logging.getLogger(__name__)

_ACCEPT_BATCH = 64  # connections taken per turn of the event loop
_ACCEPT_PAUSE_S = 0.5  # after the process ran out of descriptors
_CANCEL_S = 5.0  # what handlers get to end in after they were cancelled
_OPENING_S = 1.0  # what connections that are being opened get when the server closes
_SWEEP_S = 1.0  # between two looks at all connections' deadlines


class Server:
    """A listening socket and its connections. Made by `serve`, ended by `close`."""

    def __init__(
        self,
        handler: Handler,
        express: Express | None,
        limits: ServerLimits,
        listener: socket.socket,
        *,
        path: str | None,
        tls: ssl.SSLContext | None,
    ) -> None:
        """`path`: the socket's file, which `close` removes."""
        self.handler = handler
        self.express = express
        self._tls = tls
        self.limits = limits
        self.closing = False
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._connections: set[ServerConnection] = set()
        self._tasks: set[asyncio.Task[None]] = set()  # of connections that are gone
        self._opening: set[asyncio.Task[None]] = set()
        self._progress = asyncio.Event()  # something ended while closing
        self._accepting = False
        self._timer: asyncio.TimerHandle | None = None
        self._path = path
        self._inode = os.lstat(path).st_ino if path is not None else 0

    @property
    def port(self) -> int | None:
        """The TCP port, None on a Unix socket."""
        name = self._listener.getsockname()
        return name[1] if isinstance(name, tuple) else None

    def start(self) -> None:
        """Begins to accept connections."""
        self._resume_accepting()
        self._sweep()

    async def close(self, drain_s: float) -> None:
        """Accepts nothing more, lets running requests end for `drain_s`, then cuts them off."""
        self.closing = True
        self._pause_accepting()
        if self._timer is not None:
            self._timer.cancel()
        self._remove_file()
        self._listener.close()
        await self._end_opening()
        for connection in list(self._connections):
            connection.stop()
        await self._finish(drain_s)
        for connection in list(self._connections):
            connection.abort()
        await self._finish(_CANCEL_S)

    async def _end_opening(self) -> None:
        """Connections that were just accepted get a moment; TLS clients that dally are dropped."""
        if self._opening:
            _, late = await asyncio.wait(self._opening, timeout=_OPENING_S)
            for task in late:
                task.cancel()

    def forget(self, connection: ServerConnection) -> None:
        """Called by a connection that is gone."""
        self._connections.discard(connection)
        self._tasks.add(connection.task)
        connection.task.add_done_callback(self._ended)
        self._resume_accepting()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._progress.set()

    async def _finish(self, timeout_s: float) -> None:
        """Waits until all connections and their tasks have ended, at most that long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._connections or self._tasks:
                    self._progress.clear()
                    await self._progress.wait()

    # -- accepting -------------------------------------------------------------------------------

    def _accept(self) -> None:
        for _ in range(_ACCEPT_BATCH):
            if len(self._connections) + len(self._opening) >= self.limits.connections_max:
                self._pause_accepting()
                return
            try:
                client, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.warning("http.accept_failed", extra={"reason": str(error)})
                self._pause_accepting()
                self._loop.call_later(_ACCEPT_PAUSE_S, self._resume_accepting)
                return
            client.setblocking(False)
            task = self._loop.create_task(self._open(client))
            self._opening.add(task)
            task.add_done_callback(self._opened)

    async def _open(self, client: socket.socket) -> None:
        connection = ServerConnection(self)
        patience_s = None if self._tls is None else self.limits.handshake_timeout_s
        try:
            await self._loop.connect_accepted_socket(
                lambda: connection, client, ssl=self._tls, ssl_handshake_timeout=patience_s
            )
        except OSError as error:  # ssl.SSLError and a handshake's timeout are among them
            log.info("http.accept_failed", extra={"reason": str(error) or repr(error)})
            client.close()
        else:
            if not connection.gone:
                self._connections.add(connection)

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        self._resume_accepting()  # one that failed has left its place to another

    def _pause_accepting(self) -> None:
        if self._accepting:
            self._accepting = False
            self._loop.remove_reader(self._listener)

    def _resume_accepting(self) -> None:
        if not self._accepting and not self.closing:
            self._accepting = True
            self._loop.add_reader(self._listener, self._accept)

    def _sweep(self) -> None:
        now = self._loop.time()
        for connection in list(self._connections):
            connection.expire(now)
        shortest = min(self.limits.idle_timeout_s, self.limits.request_read_timeout_s)
        delay = min(_SWEEP_S, shortest / 4, self.limits.write_timeout_s / 4)
        self._timer = self._loop.call_later(delay, self._sweep)

    def _remove_file(self) -> None:
        """Removes the socket's file, unless another server has put its own there since."""
        if self._path is not None:
            with contextlib.suppress(FileNotFoundError):
                if os.lstat(self._path).st_ino == self._inode:
                    os.unlink(self._path)


async def serve(
    handler: Handler,
    address: str,
    limits: ServerLimits | None = None,
    *,
    express: Express | None = None,
    tls: ssl.SSLContext | None = None,
) -> Server:
    """Listens on `unix:/path` or `tcp:host:port` (port 0: any free one) and answers requests.

    `express` is asked first about each request whose body has a known length (none is 0) and that
    comes while its connection has nothing unanswered; all others are the handler's. It gives None
    (the handler's, too) or what is called with the whole body. With `tls`, HTTPS only.
    A Unix socket's file gets mode 0600; a stale one is replaced. OSError if the address is taken.
    """
    parsed = parse_address(address)
    path = parsed.path if isinstance(parsed, UnixAddress) else None
    if tls is not None:
        tls.set_alpn_protocols(["http/1.1"])
    listener = listen(parsed)
    server = Server(handler, express, limits or ServerLimits(), listener, path=path, tls=tls)
    server.start()
    log.info("http.listening", extra={"address": address, "port": server.port})
    return server
