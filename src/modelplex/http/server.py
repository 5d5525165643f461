"""An HTTP/1.1 server on a TCP or Unix socket: `serve(handler, address, limits)`."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import resource
import socket
import ssl
from collections.abc import Sequence

from modelplex.http.addresses import UnixAddress, listen, parse_address
from modelplex.http.connection import ServerConnection
from modelplex.http.express import Express, Reply
from modelplex.http.messages import Handler
from modelplex.http.outbox import Outbox
from modelplex.http.reading import ServerLimits
from modelplex.http.room import Room

__all__ = [
    "Express",
    "Reply",
    "Server",
    "ServerLimits",
    "raise_descriptor_limit",
    "serve",
    "serve_on",
]

log = logging.getLogger(__name__)

_DESCRIPTORS_AT_ONCE = 16_384  # that the kernel's table has room for from the start: 128 KB
_ACCEPT_BATCH = 2  # connections taken per turn of the event loop; each costs what a request does
_ACCEPT_PAUSE_S = 0.5  # after the process ran out of descriptors
_CANCEL_S = 5.0  # what handlers get to end in after they were cancelled
_OPENING_S = 1.0  # what connections that are being opened get when the server closes
_TICK_S = 1.0  # between two looks at the deadlines of a share of all connections
_TICKS = 5  # after so many, all have been looked at
_SLICE = 256  # connections looked at before others get their turn
_KERNEL_UNSENT_MAX = 512 * 1024  # bytes of an answer that the kernel holds and cannot send yet
_IDLE_SHARE = 64  # of the connections, one in so many is chosen at a time to make way


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
        siblings: Sequence[socket.socket] = (),
    ) -> None:
        """`path`: the socket's file, which `close` removes. `siblings`: as in `serve_on`."""
        self.handler = handler
        self.express = express
        self._tls = tls
        self.limits = limits
        self.closing = False
        self.room = Room(limits.bodies_bytes_max)
        self.outbox = Outbox()
        self._listener = listener
        if listener.family != socket.AF_UNIX:
            # Of its own accord it takes up to 4 MB from each slow reader's answer, which stays here
            # whole all the same. What has been sent and not acknowledged is not limited by this.
            # Accepted sockets inherit it.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _KERNEL_UNSENT_MAX)
        self._siblings = siblings
        self._loop = asyncio.get_running_loop()
        self._connections: dict[ServerConnection, None] = {}
        self._unseen: list[ServerConnection] = []  # in this round of looks
        self._share = 0  # of those, per tick
        self._spare: list[ServerConnection] = []  # long idle: closed when room is needed
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
        self._tick()

    async def close(self, drain_s: float) -> None:
        """Accepts nothing more, lets running requests end for `drain_s`, then cuts them off."""
        self.closing = True
        self._pause_accepting()
        if self._timer is not None:
            self._timer.cancel()
        self._remove_file()
        for listener in (self._listener, *self._siblings):
            listener.close()
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
        self._connections.pop(connection, None)
        if (task := connection.task) is not None:
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        if self.closing:
            self._progress.set()
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
        self._accept_from(self._listener)

    def _accept_from(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPT_BATCH):
            leaving = self._longest_idle() if self._full else None
            if self._full and leaving is None:
                self._pause_accepting()
                return
            try:
                client, _ = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.warning("http.accept_failed", extra={"reason": str(error)})
                self._pause_accepting()
                self._loop.call_later(_ACCEPT_PAUSE_S, self._resume_accepting)
                return
            if leaving is not None:
                del self._connections[leaving]
                leaving.stop()
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
                self._connections[connection] = None

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

    @property
    def _full(self) -> bool:
        return len(self._connections) + len(self._opening) >= self.limits.connections_max

    def _longest_idle(self) -> ServerConnection | None:
        """The connection that makes way for a new one; None if none is idle."""
        if not self._spare:
            idle = [connection for connection in reversed(self._connections) if connection.idle]
            idle.sort(key=lambda connection: connection.idle_since, reverse=True)
            self._spare = idle[-max(1, len(idle) // _IDLE_SHARE) :]
        while self._spare:
            connection = self._spare[-1]
            if connection.idle and connection in self._connections:
                return connection
            self._spare.pop()
        return None

    # -- deadlines -------------------------------------------------------------------------------

    def _tick(self) -> None:
        """A look at some of the connections, and at who holds room that others want."""
        self.room.review(self._loop.time())
        self._resume_accepting()  # one that was busy may be idle and make way
        for listener in self._siblings:  # what waits there is waiting for a process that is gone
            self._accept_from(listener)
        if not self._unseen:
            self._unseen = list(self._connections)
            self._share = -(-len(self._unseen) // _TICKS)
        self._look(self._share)
        limits = self.limits
        shortest = min(limits.idle_timeout_s, limits.request_read_timeout_s, limits.write_timeout_s)
        delay = min(_TICK_S, shortest / 4 / _TICKS)
        self._timer = self._loop.call_later(delay, self._tick)

    def _look(self, left: int) -> None:
        now = self._loop.time()
        for _ in range(min(left, _SLICE, len(self._unseen))):
            self._unseen.pop().expire(now)
        if left > _SLICE and self._unseen:
            self._loop.call_soon(self._look, left - _SLICE)

    def _remove_file(self) -> None:
        """Removes the socket's file, unless another server has put its own there since."""
        if self._path is not None:
            with contextlib.suppress(FileNotFoundError):
                if os.lstat(self._path).st_ino == self._inode:
                    os.unlink(self._path)


def raise_descriptor_limit() -> None:
    """As far as it goes: each connection takes one, each worker three, and the usual soft limit is
    1,024. The kernel's table has room for many from now on: in a process with threads each doubling
    of it waits until every core has been elsewhere, which took 9 ms beside a burst of loads.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with open(os.devnull, "rb") as any_file:
        last = min(hard, _DESCRIPTORS_AT_ONCE) - 1
        os.close(fcntl.fcntl(any_file, fcntl.F_DUPFD_CLOEXEC, last))


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


def serve_on(
    handler: Handler,
    sockets: Sequence[socket.socket],
    limits: ServerLimits | None = None,
    *,
    express: Express | None = None,
) -> Server:
    """Answers requests on a listening socket that is there already, the first of `sockets`.

    The others are its siblings on the same port (`addresses.listen_shared`), each some other
    process's own. What waits there for longer than a look takes, as that process has died or hangs,
    is taken from there too.
    """
    own, *siblings = sockets
    chosen = limits or ServerLimits()
    server = Server(handler, express, chosen, own, path=None, tls=None, siblings=siblings)
    server.start()
    log.info("http.listening", extra={"address": "shared", "port": server.port})
    return server
