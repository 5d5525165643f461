"""Addresses as text: `unix:/path`, `tcp:host:port` and, for clients, `tls:host:port`.

A Unix socket's path may be longer than the 107 bytes that fit into a socket address: it is then
reached through the descriptor of its folder, as `/proc/self/fd/N/name`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

UNIX_PATH_MAX = 107  # bytes, sizeof(sun_path) less its final zero
BACKLOG = 4096  # the kernel lowers it to net.core.somaxconn
_RETRY_S = 0.005  # between two attempts on a Unix socket whose listen queue is full


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A socket in the file system."""

    path: str


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A host and port; `tls` is for clients only."""

    host: str
    port: int
    tls: bool = False


def parse_address(text: str) -> UnixAddress | TcpAddress:
    """Reads one of the three forms; ValueError names the text and the forms."""
    scheme, _, rest = text.partition(":")
    host, _, port = rest.rpartition(":")
    if scheme == "unix" and rest:
        return UnixAddress(rest)
    if scheme in ("tcp", "tls") and host and port.isdigit() and int(port) <= 65535:
        return TcpAddress(host.strip("[]"), int(port), scheme == "tls")
    raise ValueError(f"bad address {text!r}: write unix:/path, tcp:host:port or tls:host:port")


def reachable(host: str) -> str:
    """Where a process on this machine finds a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)


def listen(address: UnixAddress | TcpAddress) -> socket.socket:
    """A listening, non-blocking socket. OSError if the address is taken or cannot be bound."""
    match address:
        case UnixAddress(path):
            return _listen_unix(path)
        case TcpAddress(host, port, tls=False):
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            server = socket.create_server((host, port), family=family, backlog=BACKLOG)
            server.setblocking(False)
            return server
    raise ValueError(f"cannot listen on {address}: TLS is for clients only")


def listen_shared(host: str, port: int, count: int) -> list[socket.socket]:
    """So many listening sockets on one port, among which the kernel spreads new connections.

    Each has a queue of its own, and one that is closed loses what waits in it: whoever makes them
    keeps them open for the processes that accept from them. Port 0: any free one. OSError if the
    port is taken, by another group like this too.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sockets = [socket.socket(family)]
    try:
        _bind(sockets[0], host, port)  # shares with nobody: fails where anyone else listens
        if count > 1:
            sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        while len(sockets) < count:
            sockets.append(socket.socket(family))
            sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            _bind(sockets[-1], host, sockets[0].getsockname()[1])
        for each in sockets:
            each.listen(BACKLOG)
            each.setblocking(False)
    except BaseException:
        for each in sockets:
            each.close()
        raise
    return sockets


def _bind(server: socket.socket, host: str, port: int) -> None:
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if server.family == socket.AF_INET6:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # as in `listen`
    server.bind((host, port))


async def connect_unix(path: str, timeout_s: float) -> socket.socket:
    """A connected, non-blocking socket; a full listen queue is waited for, up to `timeout_s`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    with _socket_name(path) as name:
        while True:
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            try:
                client.connect(name)
            except BlockingIOError:
                client.close()
                if loop.time() > deadline:
                    raise
                await asyncio.sleep(_RETRY_S)
            except BaseException:
                client.close()
                raise
            else:
                return client


def connect_unix_now(path: str) -> socket.socket:
    """A connected, non-blocking socket, without waiting. OSError, also for a full listen queue."""
    client = socket.socket(socket.AF_UNIX)
    try:
        client.setblocking(False)
        with _socket_name(path) as name:
            client.connect(name)
    except BaseException:
        client.close()
        raise
    return client


def _listen_unix(path: str) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    try:
        with _socket_name(path) as name:
            _remove_stale(name, path)
            os.fchmod(server.fileno(), 0o600)  # before bind: the file never exists more open
            server.bind(name)
        server.listen(BACKLOG)
        server.setblocking(False)
    except BaseException:
        server.close()
        raise
    return server


def _remove_stale(name: str, path: str) -> None:
    """Removes a socket file that nobody listens on; one in use, or another file, is an error."""
    try:
        if not stat.S_ISSOCK(os.lstat(name).st_mode):
            raise OSError(errno.EADDRINUSE, "a file that is no socket is in the way", path)
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            probe.connect(name)
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        os.unlink(name)
        return
    except BlockingIOError:  # a full listen queue: somebody does listen
        pass
    raise OSError(errno.EADDRINUSE, "another process listens on this socket", path)


@contextmanager
def _socket_name(path: str) -> Iterator[str]:
    """The path itself, or a short name for it that is valid inside the block."""
    if len(os.fsencode(path)) <= UNIX_PATH_MAX:
        yield path
        return
    folder, name = os.path.split(path)
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)
