"""The client against real servers, well-behaved and other."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from modelplex.http.client import Client
from modelplex.http.errors import (
    BadMessage,
    BodyTimeout,
    BodyTooLarge,
    ConnectFailed,
    ConnectionLost,
)
from modelplex.http.messages import Request, Response, first
from tests.http.conftest import Connect, Start
from tests.support.waiting import eventually

Scripted = Callable[..., Awaitable[list[bytes]]]


@pytest.fixture
async def scripted(address: str) -> AsyncIterator[Scripted]:
    """scripted(reply, …): a server that answers whole requests with these bytes, then closes.

    It returns the list in which the requests' heads are collected.
    """
    servers: list[asyncio.Server] = []

    async def scripted(*replies: bytes) -> list[bytes]:
        heads: list[bytes] = []

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                for reply in replies:
                    heads.append(await reader.readuntil(b"\r\n\r\n"))
                    writer.write(reply)
                    await writer.drain()
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_unix_server(talk, address.removeprefix("unix:"))
        servers.append(server)
        return heads

    yield scripted
    for server in servers:
        server.close()
        await server.wait_closed()


def ok(body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", body])


async def get(client: Client, target: bytes = b"/") -> bytes:
    response = await client.request("GET", target, [])
    return await response.read(10**9)


async def unused(client: Client) -> None:
    """Waits until the client's connections are idle or gone."""
    for _ in range(3000):
        if not client.in_use:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("a connection is still in use")


async def test_what_is_sent(scripted: Scripted, connect: Connect) -> None:
    """Host and framing are added, the rest is as given."""
    heads = await scripted(ok(b""), ok(b""), ok(b""))
    client = connect()

    async def pieces() -> AsyncIterator[bytes]:
        yield b""

    await client.request("GET", b"/a%20?b", [(b"x", b"y")])
    await client.request("POST", b"/", [])
    response = await client.request("PUT", b"/", [(b"host", b"h")], pieces())
    assert heads == [
        b"GET /a%20?b HTTP/1.1\r\nhost: localhost\r\nx: y\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n",
        b"PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\nhost: h\r\n\r\n",
    ]
    await response.discard()


async def test_a_response_arrives_as_it_was_sent(scripted: Scripted, connect: Connect) -> None:
    """Status, lower-case header names, body."""
    await scripted(ok(b"abc", b"X-Y:  z "))
    response = await connect().request("GET", b"/", [])
    assert response.status == 200
    assert response.headers == [(b"content-length", b"3"), (b"x-y", b"z")]
    assert response.header(b"x-y") == b"z"
    assert await response.read(3) == b"abc"


@pytest.mark.parametrize(
    ("reply", "body"),
    [
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n",
            b"abc",
        ),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.0 200 OK\r\n\r\nold", b"old"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b""),
    ],
)
async def test_all_framings_are_read(
    scripted: Scripted, connect: Connect, reply: bytes, body: bytes
) -> None:
    """By length, in chunks, until the end, or none at all."""
    await scripted(reply)
    assert await get(connect()) == body


async def test_connections_are_kept(start: Start, connect: Connect) -> None:
    """Sequential requests share one, also after HEAD."""
    peers = set()

    async def handle(request: Request) -> Response:
        peers.add(request.peer)
        return Response(200, [], b"abc")

    server = await start(handle, "tcp:127.0.0.1:0")
    client = connect(f"tcp:127.0.0.1:{server.port}")
    for method in ("GET", "HEAD", "HEAD", "POST", "GET"):
        response = await client.request(method, b"/", [])
        assert response.header(b"content-length") == b"3"
        assert await response.read(3) == (b"" if method == "HEAD" else b"abc")
    assert len(peers) == 1
    assert not client.in_use


@pytest.mark.parametrize("size", [1024 * 1024, 20 * 1024 * 1024])
async def test_large_bodies_stream_both_ways(start: Start, connect: Connect, size: int) -> None:
    """A request's stream is echoed as a stream while it is still being sent."""

    async def handle(request: Request) -> Response:
        return Response(200, [(b"content-length", b"%d" % size)], request.body)

    async def pieces() -> AsyncIterator[bytes]:
        for start_at in range(0, size, 65536):
            yield bytes([start_at // 65536 % 256]) * 65536

    await start(handle)
    response = await connect().request("POST", b"/", [], pieces())
    seen = 0
    async for piece in response:
        assert piece[0] == seen // 65536 % 256
        seen += len(piece)
    assert seen == size


async def test_interim_responses_are_dropped(scripted: Scripted, connect: Connect) -> None:
    """With their headers; the response that follows is the answer."""
    await scripted(b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + ok(b"after"))
    response = await connect().request("GET", b"/", [])
    assert (response.status, first(response.headers, b"link")) == (200, b"")
    assert await response.read(100) == b"after"


async def test_nobody_there_is_connect_failed(connect: Connect) -> None:
    """Nothing was sent."""
    with pytest.raises(ConnectFailed):
        await get(connect())
    with pytest.raises(ConnectFailed):
        await get(connect("tcp:127.0.0.1:1"))


async def test_a_connection_seen_closed_is_replaced(scripted: Scripted, connect: Connect) -> None:
    """A kept connection that the server has closed since is not used."""
    await scripted(ok(b"a"))
    client = connect()
    assert await get(client) == b"a"
    await eventually(lambda: not client._connections)
    assert await get(client) == b"a"


async def test_a_connection_closed_over_a_request_is_lost(
    scripted: Scripted, connect: Connect
) -> None:
    """Only the caller can know whether to ask again."""
    await scripted(b"")
    with pytest.raises(ConnectionLost) as caught:
        await get(connect())
    assert caught.value.sent
    assert not caught.value.unread


async def test_an_unread_request_is_known_as_such(address: str, connect: Connect) -> None:
    """A server that goes without having read a request cannot have acted on it."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address.removeprefix("unix:"))
    listener.listen()
    listener.setblocking(False)
    asking = asyncio.create_task(get(connect()))
    accepted, _ = await asyncio.get_running_loop().sock_accept(listener)
    await eventually(lambda: select.select([accepted], [], [], 0)[0])
    accepted.close()
    listener.close()
    with pytest.raises(ConnectionLost) as caught:
        await asking
    assert caught.value.unread


async def test_a_body_that_breaks_off_is_lost(scripted: Scripted, connect: Connect) -> None:
    """A length not reached, and chunks without an end."""
    await scripted(ok(b"abc")[:-1])
    with pytest.raises(ConnectionLost):
        await get(connect())


@pytest.mark.parametrize(
    "reply",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_nonsense_is_a_bad_message(
    scripted: Scripted, connect: Connect, reply: bytes
) -> None:
    """And the connection is not used again."""
    await scripted(reply)
    client = connect()
    with pytest.raises(BadMessage):
        await get(client)
    await unused(client)


async def test_bytes_after_the_response_are_not_the_next_one(
    scripted: Scripted, connect: Connect
) -> None:
    """A server that says more than it was asked loses the connection."""
    await scripted(ok(b"a") + ok(b"b"))
    client = connect()
    assert await get(client) == b"a"
    assert await get(client) == b"a"


async def test_a_late_response_is_a_timeout(start: Start, connect: Connect) -> None:
    """The connection is closed, which cancels the server's handler."""
    cancelled = asyncio.Event()

    async def handle(_: Request) -> Response:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()
        return Response(200)

    await start(handle)
    with pytest.raises(TimeoutError, match=r"0\.05 s"):
        await connect().request("GET", b"/", [], timeout_s=0.05)
    await asyncio.wait_for(cancelled.wait(), 30)
    assert cancelled.is_set()


async def test_cancelling_a_request_closes_its_connection(start: Start, connect: Connect) -> None:
    """The server's handler is cancelled with it."""
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def handle(_: Request) -> Response:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()
        return Response(200)

    await start(handle)
    client = connect()
    task = asyncio.create_task(get(client))
    await asyncio.wait_for(begun.wait(), 30)
    task.cancel()
    await asyncio.wait_for(cancelled.wait(), 30)
    await unused(client)


async def test_a_stalled_body_times_out(start: Start, connect: Connect) -> None:
    """A response whose next piece does not come."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.sleep(60)

    async def handle(_: Request) -> Response:
        return Response(200, [], pieces())

    await start(handle)
    with pytest.raises(BodyTimeout):
        await get(connect(body_timeout_s=0.05))


async def test_a_body_above_the_limit_is_given_up(start: Start, connect: Connect) -> None:
    """The connection closes instead of reading the rest."""

    async def handle(_: Request) -> Response:
        return Response(200, [], bytes(5_000_000))

    await start(handle)
    client = connect()
    response = await client.request("GET", b"/", [])
    with pytest.raises(BodyTooLarge):
        await response.read(1000)
    assert await get(client) == bytes(5_000_000)


async def test_an_unread_response_does_not_block_the_next(start: Start, connect: Connect) -> None:
    """A connection whose last response nobody read is as good as any."""

    async def handle(request: Request) -> Response:
        return Response(200, [], bytes(int(request.path[1:])))

    await start(handle)
    client = connect(connections_max=1)
    for size in (200_000, 250_000, 270_000, 300_000, 1_000_000):
        response = await client.request("GET", b"/%d" % size, [])
        await asyncio.sleep(0.02)
        await response.discard()
        assert await get(client, b"/5") == bytes(5)


async def test_discarding_frees_the_connection(start: Start, connect: Connect) -> None:
    """With one connection allowed, the next request gets through."""

    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield bytes(65536)

    async def handle(request: Request) -> Response:
        return Response(200, [], pieces() if request.path == b"/endless" else b"ok")

    await start(handle)
    client = connect(connections_max=1)
    response = await client.request("GET", b"/endless", [])
    await response.discard()
    assert await get(client) == b"ok"


async def test_a_failing_request_body_is_the_callers_error(start: Start, connect: Connect) -> None:
    """What iterating raises comes out of request(), and no server takes the part for the whole."""
    bodies: list[bytes] = []

    async def handle(request: Request) -> Response:
        bodies.append(await request.body.read(100))
        return Response(200)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"a"
        raise KeyError("mine")

    server = await start(handle)
    with pytest.raises(KeyError, match="mine"):
        await connect().request("POST", b"/", [], pieces())
    await server.close(5)
    assert not bodies


async def test_an_early_answer_is_returned_while_sending(start: Start, connect: Connect) -> None:
    """A refusal arrives although the request's body is endless; then sending ends."""
    ended = asyncio.Event()

    async def handle(_: Request) -> Response:
        return Response(403, [], b"no")

    async def pieces() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(65536)
                await asyncio.sleep(0)
        finally:
            ended.set()

    await start(handle)
    client = connect()
    response = await client.request("POST", b"/", [], pieces())
    assert (response.status, await response.read(10)) == (403, b"no")
    await client.close()
    await asyncio.wait_for(ended.wait(), 30)
    assert ended.is_set()


async def test_requests_wait_for_a_free_connection(start: Start, connect: Connect) -> None:
    """All are answered, never more at once than the pool has connections."""
    running = most = 0

    async def handle(_: Request) -> Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return Response(200, [], b"ok")

    await start(handle)
    client = connect(connections_max=3)
    answers = await asyncio.gather(*(get(client) for _ in range(60)))
    assert answers == [b"ok"] * 60
    assert most <= 3


async def test_waiting_has_its_limits(start: Start, connect: Connect) -> None:
    """Too many waiters, or too long a wait, is ConnectFailed; a cancelled waiter harms nobody."""
    begun, go = asyncio.Event(), asyncio.Event()

    async def handle(_: Request) -> Response:
        begun.set()
        await go.wait()
        return Response(200, [], b"ok")

    await start(handle)
    client = connect(connections_max=1, waiters_max=2)
    first = asyncio.create_task(get(client))
    await asyncio.wait_for(begun.wait(), 30)
    cancelled, late = asyncio.create_task(get(client)), asyncio.create_task(get(client))
    await asyncio.sleep(0)
    with pytest.raises(ConnectFailed, match="already wait"):
        await get(client)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    client._limits = replace(client._limits, connect_timeout_s=0.05)
    with pytest.raises(ConnectFailed, match=r"were busy for 0\.05 s"):
        await get(client)
    go.set()
    assert await first == await late == b"ok"
    assert await get(client) == b"ok"


async def test_unused_connections_are_closed(scripted: Scripted, connect: Connect) -> None:
    """After the idle time a request gets a new connection, which begins the script again."""
    await scripted(ok(b"a"), ok(b"b"), ok(b"c"))
    client = connect()
    assert await get(client) == b"a"
    (connection,) = client._connections
    connection._limits = replace(connection._limits, idle_timeout_s=0.05)
    assert await get(client) == b"b"
    await eventually(lambda: not client._connections)
    assert await get(client) == b"a"


async def test_json_both_ways(start: Start, connect: Connect) -> None:
    """A document there, a document back, None for an empty answer."""

    async def handle(request: Request) -> Response:
        return Response(201, [], await request.body.read(100))

    await start(handle)
    client = connect()
    assert await client.json("POST", "/", {"a": [1]}) == (201, {"a": [1]})
    assert await client.json("GET", "/") == (201, None)
    await client.close()
    with pytest.raises(ConnectFailed):
        await client.json("GET", "/")


async def test_json_that_is_none_is_a_bad_message(scripted: Scripted, connect: Connect) -> None:
    """The error has what came instead."""
    await scripted(ok(b"<html>"))
    with pytest.raises(BadMessage, match="<html>"):
        await connect().json("GET", "/x")


async def test_tls(tmp_path: Path, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """tls:host:port verifies the server's certificate against the trusted ones."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*make, *subject, *files], check=True, capture_output=True)  # noqa: ASYNC221
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(ok(b"secret", b"Connection: close"))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
    address = f"tls:localhost:{server.sockets[0].getsockname()[1]}"
    with pytest.raises(ConnectFailed, match="certificate"):
        await get(connect(address))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert await get(connect(address)) == b"secret"
    server.close()
    await server.wait_closed()
