"""The server against raw sockets: framing, limits, and clients that misbehave."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from modelplex.http import connection
from modelplex.http.messages import Handler, Request, Response
from modelplex.http.server import serve
from tests.http.conftest import Start
from tests.http.raw import Raw
from tests.support.waiting import eventually

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def post(body: bytes, *headers: bytes) -> bytes:
    lines = [b"POST /p HTTP/1.1", b"Host: x", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", body])


async def test_a_request_arrives_as_it_was_sent(start: Start, address: str) -> None:
    """Raw target, lower-case names, values without blanks around them."""
    seen: list[Request] = []

    async def handle(request: Request) -> Response:
        seen.append(request)
        return Response(200, [(b"x-a", b"b")], b"ok")

    await start(handle)
    async with Raw(address) as raw:
        await raw.send(b"GET /a%20b/../c?x=%2F&y HTTP/1.1\r\nHost: h\r\nX-Y:  v w \t \r\n\r\n")
        assert await raw.head() == b"HTTP/1.1 200 OK\r\nx-a: b\r\ncontent-length: 2"
    request = seen[0]
    assert (request.method, request.target) == ("GET", b"/a%20b/../c?x=%2F&y")
    assert (request.path, request.query) == (b"/a%20b/../c", b"x=%2F&y")
    assert request.headers == [(b"host", b"h"), (b"x-y", b"v w")]
    assert request.header(b"x-y") == b"v w"
    assert request.header(b"none", b"default") == b"default"
    assert request.peer == "unix"


async def test_pipelined_requests_are_answered_in_order(start: Start, address: str) -> None:
    """A hundred requests in one write, the first ones the slowest."""

    async def handle(request: Request) -> Response:
        number = int(request.path[1:])
        await asyncio.sleep(0.01 if number < 3 else 0)
        return Response(200, [], b"%d" % number)

    await start(handle)
    async with Raw(address) as raw:
        await raw.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(100)))
        answers = [await raw.response() for _ in range(100)]
    assert answers == [(200, b"%d" % n) for n in range(100)]


async def test_any_number_of_pipelined_requests_is_answered(start: Start, address: str) -> None:
    """In order, while few of them wait at a time and what is behind them is held back."""
    go, begun = asyncio.Event(), 0

    async def handle(request: Request) -> Response:
        nonlocal begun
        begun += 1
        await go.wait()
        return Response(200, [], request.path)

    await start(handle)
    async with Raw(address) as raw:
        paths = [b"/%d" % number for number in range(3000)]
        sending = asyncio.create_task(
            raw.send(b"".join(GET.replace(b"/ ", p + b" ") for p in paths))
        )
        await eventually(lambda: begun)
        await asyncio.sleep(0.05)
        assert begun == 1
        go.set()
        assert [(await raw.response())[1] for _ in paths] == paths
        await sending


async def test_chunks_arrive_as_a_body(start: Start, address: str, echo: Handler) -> None:
    """Chunk extensions and trailers are understood and left out; the connection goes on."""
    await start(echo)
    async with Raw(address) as raw:
        await raw.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        await raw.send(b"3;ext=1\r\nabc\r\n")
        await asyncio.sleep(0.01)
        await raw.send(b"4\r\ndefg\r\n0\r\nX-Trailer: 1\r\n\r\n" + GET)
        assert await raw.response() == (200, b"abcdefg")
        assert await raw.response() == (200, b"")


@pytest.mark.parametrize("size", [0, 1, 65536, 1024 * 1024, 20 * 1024 * 1024])
async def test_bodies_of_all_sizes_come_back(
    start: Start, address: str, echo: Handler, size: int
) -> None:
    """From nothing to 20 MB, read whole."""
    await start(echo)
    body = os.urandom(size)
    async with Raw(address) as raw:
        sending = asyncio.create_task(raw.send(post(body)))
        assert await raw.response() == (200, body)
        await sending


async def test_a_streamed_body_is_held_back_by_its_reader(start: Start, address: str) -> None:
    """While the handler does not read, only a bounded part of the body is taken."""
    go = asyncio.Event()

    async def handle(request: Request) -> Response:
        await go.wait()
        size = 0
        async for piece in request.body:
            size += len(piece)
        return Response(200, [], b"%d" % size)

    await start(handle)
    async with Raw(address) as raw:
        sending = asyncio.create_task(raw.send(post(bytes(20 * 1024 * 1024))))
        await asyncio.sleep(0.2)
        assert not sending.done()
        go.set()
        assert await raw.response() == (200, b"20971520")
        await sending


async def test_a_streamed_answer_waits_for_its_reader(start: Start, address: str) -> None:
    """The source of an answer is asked for no more than fits into the buffers."""
    given = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal given
        for _ in range(400):
            given += 1
            yield bytes(65536)

    async def handle(_: Request) -> Response:
        return Response(200, [(b"content-length", b"%d" % (400 * 65536))], pieces())

    await start(handle)
    async with Raw(address) as raw:
        await raw.send(GET)
        await asyncio.sleep(0.2)
        assert given < 200
        status, body = await raw.response()
        assert (status, len(body)) == (200, 400 * 65536)


async def test_a_stream_without_length_is_chunked(start: Start, address: str) -> None:
    """And readable as such; empty pieces do not end it."""

    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"ab", b"", b"c"):
            yield piece

    async def handle(_: Request) -> Response:
        return Response(200, [], pieces())

    await start(handle)
    async with Raw(address) as raw:
        await raw.send(GET)
        assert b"transfer-encoding: chunked" in await raw.head()
        body = await raw.reader.readexactly(18)
    assert body == b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"


async def test_an_old_client_gets_no_chunks(start: Start, address: str) -> None:
    """HTTP/1.0: the end of the connection is the end of the body."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"abc"

    async def handle(request: Request) -> Response:
        return Response(200, [], pieces())

    await start(handle)
    async with Raw(address) as raw:
        await raw.send(b"GET / HTTP/1.0\r\n\r\n")
        assert await raw.rest() == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabc"


@pytest.mark.parametrize("length", [b"2", b"4"])
async def test_a_stream_of_the_wrong_length_breaks_the_connection(
    start: Start, address: str, length: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """The client can tell that the answer is not whole; the log says why."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"abc"

    async def handle(_: Request) -> Response:
        return Response(200, [(b"content-length", length)], pieces())

    await start(handle)
    async with Raw(address) as raw:
        await raw.send(GET)
        body = (await raw.rest()).partition(b"\r\n\r\n")[2]
    assert len(body) < int(length)
    assert "http.stream_failed" in caplog.text


async def test_head_has_no_body(start: Start, address: str) -> None:
    """The length of what GET would send, and nothing after the headers."""

    async def handle(request: Request) -> Response:
        if request.path == b"/given":
            return Response(200, [(b"content-length", b"99")])
        return Response(200, [], b"abc")

    await start(handle)
    async with Raw(address) as raw:
        await raw.send(b"HEAD /own HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"content-length: 3" in await raw.head()
        await raw.send(b"HEAD /given HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"content-length: 99" in await raw.head()
        await raw.send(b"GET /own HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await raw.rest()).endswith(b"\r\n\r\nabc")


async def test_204_has_neither_body_nor_length(start: Start, address: str) -> None:
    """RFC 9110 8.6."""

    async def handle(_: Request) -> Response:
        return Response(204)

    await start(handle)
    async with Raw(address) as raw:
        await raw.send(GET)
        assert await raw.head() == b"HTTP/1.1 204 No Content"


async def test_permission_to_send_comes_when_the_body_is_wanted(
    start: Start, address: str, echo: Handler
) -> None:
    """100 Continue when the handler reads; a refusal instead if it does not."""

    async def handle(request: Request) -> Response:
        return Response(403) if request.path == b"/no" else await echo(request)

    await start(handle)
    expecting = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    async with Raw(address) as raw:
        await raw.send(expecting % b"/yes")
        assert await raw.head() == b"HTTP/1.1 100 Continue"
        await raw.send(b"abc")
        assert await raw.response() == (200, b"abc")
        await raw.send(expecting % b"/no")
        head = await raw.head()
        assert head.startswith(b"HTTP/1.1 403")
        assert b"connection: close" in head


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET http://x/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked"
            b"\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5"
            b"\r\n\r\n0\r\n\r\n",
            400,
        ),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 40_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"y" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 10_000 + b"\r\n", 431),
    ],
)
async def test_bad_requests_end_the_connection(
    start: Start, address: str, echo: Handler, request_bytes: bytes, status: int
) -> None:
    """Malformed, smuggled or oversized: one answer with a reason, nothing after it."""
    await start(echo)
    async with Raw(address) as raw:
        await raw.send(request_bytes + GET)
        rest = await raw.rest()
    assert rest.startswith(b"HTTP/1.1 %d " % status)
    assert rest.count(b"content-length") == 1
    assert b'"message"' in rest


async def test_a_bad_request_waits_for_its_turn(start: Start, address: str, echo: Handler) -> None:
    """Requests before it are answered first."""
    await start(echo)
    async with Raw(address) as raw:
        await raw.send(post(b"abc") + b"nonsense\r\n\r\n")
        rest = await raw.rest()
    assert rest.index(b"200 OK") < rest.index(b"400 Bad Request")


async def test_headers_that_never_end_are_refused(
    start: Start, address: str, echo: Handler
) -> None:
    """A header without an end, sent in pieces, stops at the limit."""
    await start(echo, headers_bytes_max=1000)
    async with Raw(address) as raw:
        await raw.send(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
        for _ in range(20):
            await raw.send(b"y" * 100)
            await asyncio.sleep(0.001)
        assert (await raw.rest()).startswith(b"HTTP/1.1 431 ")


async def test_headers_in_two_pieces_have_the_same_limit(
    start: Start, address: str, echo: Handler
) -> None:
    """Each piece below it, both together above."""
    await start(echo, headers_bytes_max=1000)
    async with Raw(address) as raw:
        await raw.send(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 600)
        await asyncio.sleep(0.02)
        await raw.send(b"y" * 600 + b"\r\n\r\n")
        assert (await raw.rest()).startswith(b"HTTP/1.1 431 ")


async def test_requests_in_pieces_follow_one_another(
    start: Start, address: str, echo: Handler
) -> None:
    """A large body, then a request whose headers and body are cut anywhere."""
    await start(echo, headers_bytes_max=1000)
    large, small = post(bytes(500_000)), post(b"abcdef")
    async with Raw(address) as raw:
        for cut in (5, 30, len(small) - 3):
            await raw.send(large)
            assert await raw.response() == (200, bytes(500_000))
            for piece in (small[:cut], small[cut:-1], small[-1:]):
                await raw.send(piece)
                await asyncio.sleep(0.005)
            assert await raw.response() == (200, b"abcdef")


async def test_a_flood_of_chunk_headers_is_refused(
    start: Start, address: str, echo: Handler
) -> None:
    """Trailers and chunk extensions cannot grow without a body to match."""
    await start(echo, headers_bytes_max=1000)
    async with Raw(address) as raw:
        await raw.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        await raw.send(b"1\r\na\r\n0\r\n")
        for _ in range(100):
            await raw.send(b"X-Trailer: yyyyyyyyyyyyyyyy\r\n")
            await asyncio.sleep(0.001)
        assert b"HTTP/1.1 400 " in await raw.rest()


async def test_there_are_no_tunnels_and_no_upgrades(
    start: Start, address: str, echo: Handler
) -> None:
    """An upgrade is answered as if it had not been asked for, CONNECT is refused."""
    await start(echo)
    async with Raw(address) as raw:
        upgrade = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
        for request in (upgrade, GET):
            await raw.send(request)
            assert await raw.response() == (200, b"")
    async with Raw(address) as raw:
        await raw.send(b"CONNECT evil:80 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await raw.rest()).startswith(b"HTTP/1.1 501 ")


async def test_a_slow_request_is_408(start: Start, address: str, echo: Handler) -> None:
    """Headers that do not arrive, and a body that does not."""
    await start(echo, request_read_timeout_s=0.1)
    async with Raw(address) as raw:
        await raw.send(b"GET / HTTP/1.1\r\n")
        assert (await raw.rest()).startswith(b"HTTP/1.1 408 ")
    async with Raw(address) as raw:
        await raw.send(post(b"abc")[:-1])
        assert (await raw.rest()).startswith(b"HTTP/1.1 408 ")


async def test_an_idle_connection_is_closed(start: Start, address: str, echo: Handler) -> None:
    """Silently, whether or not it had a request before."""
    server = await start(echo, write_timeout_s=0.1)  # so it looks often
    async with Raw(address) as raw:
        await raw.send(GET)
        assert await raw.response() == (200, b"")
        server.limits = replace(server.limits, idle_timeout_s=0.1)
        assert await raw.rest() == b""
    async with Raw(address) as raw:
        assert await raw.rest() == b""


async def test_a_client_that_does_not_read_is_cut_off(start: Start, address: str) -> None:
    """The handler's stream is ended when nobody takes it."""
    ended = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(65536)
        finally:
            ended.set()

    async def handle(_: Request) -> Response:
        return Response(200, [], pieces())

    await start(handle, write_timeout_s=0.1)
    reader = socket.socket(socket.AF_UNIX)
    try:
        reader.connect(address.removeprefix("unix:"))
        reader.sendall(GET)
        await asyncio.wait_for(ended.wait(), 30)
    finally:
        reader.close()
    assert ended.is_set()


@pytest.mark.parametrize("half", [True, False])
async def test_a_client_that_leaves_cancels_its_handler(
    start: Start, address: str, half: bool
) -> None:
    """Also one that closes only its sending half."""
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def handle(_: Request) -> Response:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return Response(200)

    await start(handle)
    async with Raw(address) as raw:
        await raw.send(GET)
        await asyncio.wait_for(begun.wait(), 30)
        if half:
            raw.writer.write_eof()
        else:
            raw.writer.close()
        await asyncio.wait_for(cancelled.wait(), 30)
    assert cancelled.is_set()


async def test_a_client_that_leaves_ends_the_stream_it_was_getting(
    start: Start, address: str
) -> None:
    """The source's clean-up runs."""
    ended = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await asyncio.sleep(60)
        finally:
            ended.set()

    async def handle(_: Request) -> Response:
        return Response(200, [], pieces())

    await start(handle)
    async with Raw(address) as raw:
        await raw.send(GET)
        await raw.head()
    await asyncio.wait_for(ended.wait(), 30)
    assert ended.is_set()


async def test_a_client_that_leaves_within_its_body_is_noticed(start: Start, address: str) -> None:
    """The handler reading the body does not wait for ever."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def handle(request: Request) -> Response:
        begun.set()
        try:
            await request.body.read(100)
        finally:
            ended.set()
        return Response(200)

    await start(handle)
    async with Raw(address) as raw:
        await raw.send(post(b"abc")[:-1])
        await asyncio.wait_for(begun.wait(), 30)
    await asyncio.wait_for(ended.wait(), 30)
    assert ended.is_set()


async def test_a_failing_handler_is_500(
    start: Start, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The traceback goes to the log, not to the client; the connection goes on."""

    async def handle(request: Request) -> Response:
        if request.path == b"/cancel":
            raise asyncio.CancelledError
        raise RuntimeError("secret detail")

    await start(handle)
    async with Raw(address) as raw:
        for path in (b"/", b"/cancel"):
            await raw.send(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
            status, body = await raw.response()
            assert status == 500
            assert b"secret" not in body
    assert "secret detail" in caplog.text


async def test_a_body_above_its_limit_is_413(start: Start, address: str) -> None:
    """Known length or not; and a client that is still sending can read the answer."""

    async def handle(request: Request) -> Response:
        return Response(200, [], await request.body.read(1000))

    await start(handle)
    async with Raw(address) as raw:
        sending = asyncio.create_task(raw.send(post(bytes(5_000_000))))
        assert (await raw.response())[0] == 413
        await sending
    async with Raw(address) as raw:
        await raw.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        await raw.send(b"%x\r\n" % 2000 + bytes(2000) + b"\r\n")
        assert (await raw.response())[0] == 413


async def test_headers_cannot_be_broken_out_of(
    start: Start, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A line break in a response's header is a defect that never reaches the wire."""

    async def handle(_: Request) -> Response:
        return Response(200, [(b"x", b"a\r\nset-cookie: b")])

    await start(handle)
    async with Raw(address) as raw:
        await raw.send(GET)
        assert await raw.rest() == b""
    assert "a line break" in caplog.text


async def test_more_connections_wait_in_the_queue(start: Start, address: str) -> None:
    """Beyond the limit a connection is served when a busy one ends, or is idle."""
    begun, go = asyncio.Event(), asyncio.Event()

    async def handle(request: Request) -> Response:
        if request.path == b"/wait":
            begun.set()
            await go.wait()
        return Response(200, [], b"ok")

    await start(handle, connections_max=1, write_timeout_s=0.2)
    async with Raw(address) as one:
        await one.send(GET.replace(b"/ ", b"/wait "))
        await begun.wait()
        async with Raw(address) as two:
            await two.send(GET)
            answer = asyncio.create_task(two.response())
            await asyncio.sleep(0.05)
            assert not answer.done()
            go.set()
            assert await answer == (200, b"ok")


async def test_the_longest_idle_connection_makes_way(start: Start, address: str) -> None:
    """For a new one, at the limit; one that has begun a request is not idle."""

    async def handle(_: Request) -> Response:
        return Response(200, [], b"ok")

    server = await start(handle, connections_max=3, write_timeout_s=0.05)
    async with Raw(address) as begun, Raw(address) as old, Raw(address) as young:
        for raw in (begun, old):
            await raw.send(GET)
            await raw.response()
        await begun.send(b"GE")
        _, idle, _ = server._connections
        await eventually(lambda: idle.idle_since < math.inf)  # `young` will be so later
        await young.send(GET)
        await young.response()
        async with Raw(address) as new:
            await new.send(GET)
            assert await new.response() == (200, b"ok")
            assert await old.rest() == b""
            await young.send(GET)
            assert await young.response() == (200, b"ok")
        await begun.send(b"T / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await begun.response() == (200, b"ok")


async def test_a_client_that_closed_its_half_is_answered(
    start: Start, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If what it asked for comes soon; it is told nothing more."""
    monkeypatch.setattr(connection, "_HALF_CLOSED_S", 30.0)

    async def handle(_: Request) -> Response:
        await asyncio.sleep(0.05)
        return Response(200, [], b"ok")

    await start(handle)
    async with Raw(address) as raw:
        await raw.send(GET)
        raw.writer.write_eof()
        assert (await raw.rest()).endswith(b"\r\n\r\nok")


async def test_closing_lets_running_requests_end(start: Start, address: str) -> None:
    """A running request is answered with the news that it was the last; nobody else gets in."""
    begun, go = asyncio.Event(), asyncio.Event()

    async def handle(_: Request) -> Response:
        begun.set()
        await go.wait()
        return Response(200, [], b"done")

    server = await start(handle)
    async with Raw(address) as busy, Raw(address) as idle:
        await busy.send(GET)
        await asyncio.wait_for(begun.wait(), 30)
        closing = asyncio.create_task(server.close(30))
        assert await idle.rest() == b""
        with pytest.raises(FileNotFoundError):
            await asyncio.open_unix_connection(address.removeprefix("unix:"))
        go.set()
        head = await busy.head()
        assert b"connection: close" in head
        await closing


async def test_closing_cuts_off_what_does_not_end(start: Start, address: str) -> None:
    """After the drain time handlers are cancelled."""
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def handle(_: Request) -> Response:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()
        return Response(200)

    server = await start(handle)
    async with Raw(address) as raw:
        await raw.send(GET)
        await asyncio.wait_for(begun.wait(), 30)
        await server.close(0.05)
        assert cancelled.is_set()
        assert await raw.rest() == b""


async def test_tcp_tells_its_port(echo: Handler, caplog: pytest.LogCaptureFixture) -> None:
    """Port 0 takes a free one; the peer is the client's address."""
    caplog.set_level(logging.INFO)
    peers: list[str] = []

    async def handle(request: Request) -> Response:
        peers.append(request.peer)
        return Response(200)

    server = await serve(handle, "tcp:127.0.0.1:0")
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(GET)
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    host, port = writer.get_extra_info("sockname")
    assert peers == [f"{host}:{port}"]
    writer.close()
    await writer.wait_closed()
    await server.close(1)


def test_the_table_of_descriptors_is_large_from_the_start() -> None:
    """As the limit allows; it does not grow while requests wait for it."""
    code = (
        "from modelplex.http.server import raise_descriptor_limit as r; r(); import resource as s"
    )
    code += "; print(s.getrlimit(s.RLIMIT_NOFILE)); print(open('/proc/self/status').read())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    soft, hard = map(int, told.stdout.splitlines()[0].strip("()").split(", "))
    assert soft == hard
    size = next(line for line in told.stdout.splitlines() if line.startswith("FDSize:"))
    assert int(size.split()[1]) >= min(hard, 16_384)
