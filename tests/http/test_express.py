"""The short way: whole bodies in, answers from callbacks, in order with everything else."""

from __future__ import annotations

import asyncio
import os
import random
from dataclasses import replace

import pytest

from modelplex.http.express import Receiver
from modelplex.http.messages import Data, Handler, Request, Response
from modelplex.http.server import Express, Reply
from tests.http.conftest import Start
from tests.http.raw import Raw
from tests.http.test_server import GET, post
from tests.support.waiting import eventually

MIB = 1024 * 1024


def give_back(request: Request, body: Data, reply: Reply) -> None:
    """A receiver that answers at once with the body."""
    reply.send(200, b"x-method: %b\r\n" % request.method.encode(), body)


async def never(_: Request) -> Response:
    """A handler for what must not reach it."""
    raise AssertionError("the handler was asked")


class Held:
    """An express that keeps its replies; `arrived` is set by each."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.arrived = asyncio.Event()

    def __call__(self, request: Request) -> Receiver | None:
        return self.receive

    def receive(self, request: Request, body: Data, reply: Reply) -> None:
        self.replies.append(reply)
        self.arrived.set()

    async def one(self) -> Reply:
        await asyncio.wait_for(self.arrived.wait(), 30)
        self.arrived.clear()
        return self.replies[-1]


@pytest.mark.parametrize("size", [0, 1, 65536, 200_000, MIB, 20 * MIB])
async def test_bodies_of_all_sizes_come_back(start: Start, address: str, size: int) -> None:
    """From nothing to 20 MB, several on one connection, with small ones between."""
    await start(never, express=lambda _: give_back)
    body = os.urandom(size)
    async with Raw(address) as raw:
        for sent in (body, b"abc", body):
            sending = asyncio.create_task(raw.send(post(sent)))
            assert await raw.response() == (200, sent)
            await sending


async def test_a_body_for_which_there_is_no_memory_is_refused(start: Start, address: str) -> None:
    """Where nobody has limited it: before anything of it is taken in."""
    await start(never, express=lambda _: give_back)
    async with Raw(address) as raw:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999999999\r\n\r\nabc"
        await raw.send(head)
        status, told = await raw.response()
        assert (status, b"no memory for a body of 999999999999999999" in told) == (413, True)


async def test_a_request_is_shown_as_it_was_sent(start: Start, address: str) -> None:
    """Method, target, headers and length are there before the body."""
    seen: list[Request] = []

    def express(request: Request) -> Receiver:
        seen.append(request)
        return give_back

    await start(never, express=express)
    async with Raw(address) as raw:
        await raw.send(post(b"abc", b"X-Y:  v w \t "))
        assert await raw.head() == b"HTTP/1.1 200 OK\r\nx-method: POST\r\ncontent-length: 3"
    request = seen[0]
    assert (request.method, request.target, request.length) == ("POST", b"/p", 3)
    assert request.headers == [(b"host", b"x"), (b"content-length", b"3"), (b"x-y", b"v w")]
    assert request.peer == "unix"


async def test_what_express_leaves_is_the_handlers(
    start: Start, address: str, echo: Handler
) -> None:
    """None, a chunked body, and an express that breaks."""

    def express(request: Request) -> Receiver | None:
        if request.path == b"/break":
            raise RuntimeError("broken")
        return None if request.path == b"/p" else give_back

    await start(echo, express=express)
    chunked = (
        b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )
    async with Raw(address) as raw:
        for sent in (post(b"abc"), chunked, post(b"abc").replace(b"/p", b"/break")):
            await raw.send(sent)
            assert b"x-method" not in await raw.head()
            assert await raw.reader.readexactly(3) == b"abc"
        await raw.send(GET)
        assert b"x-method" in await raw.head()


async def test_order_is_kept(start: Start, address: str) -> None:
    """Forty requests in one write, some answered later than the next, some by the handler."""
    loop = asyncio.get_running_loop()

    def receive(request: Request, body: Data, reply: Reply) -> None:
        if body[-1:] == b"5":
            loop.call_later(0.01, reply.send, 200, b"", body)
        else:
            reply.send(200, b"", body)

    async def handle(request: Request) -> Response:
        await asyncio.sleep(0.001)
        return Response(200, [], await request.body.read(100))

    def express(request: Request) -> Receiver | None:
        return None if (request.length or 0) % 2 else receive

    await start(handle, express=express)
    bodies = [b"x" * (n % 3) + b"%d" % n for n in range(40)]
    async with Raw(address) as raw:
        await raw.send(b"".join(map(post, bodies)))
        assert [(await raw.response())[1] for _ in bodies] == bodies


async def test_a_bad_request_waits_for_its_turn(start: Start, address: str) -> None:
    """What came before it is answered first, however late."""
    held = Held()
    await start(never, express=held)
    async with Raw(address) as raw:
        await raw.send(post(b"abc") + b"nonsense\r\n\r\n")
        (await held.one()).send(200, b"", b"late")
        rest = await raw.rest()
    assert rest.index(b"200 OK") < rest.index(b"400 Bad Request")


@pytest.mark.parametrize("size", [3, MIB])
async def test_permission_to_send_is_given(start: Start, address: str, size: int) -> None:
    """100 Continue as soon as the body is wanted."""
    await start(never, express=lambda _: give_back)
    head, body = post(bytes(size), b"Expect: 100-continue").split(b"\r\n\r\n", 1)
    async with Raw(address) as raw:
        await raw.send(head + b"\r\n\r\n")
        assert await raw.head() == b"HTTP/1.1 100 Continue"
        await raw.send(body)
        assert await raw.response() == (200, body)


@pytest.mark.parametrize("size", [3, MIB])
async def test_a_last_request_closes(start: Start, address: str, echo: Handler, size: int) -> None:
    """HTTP/1.0, also when it asks for more, and Connection: close."""
    await start(echo, express=lambda _: give_back)
    body = bytes(size)
    alive = b"Connection: keep-alive"
    old = post(body, alive).replace(b"HTTP/1.1", b"HTTP/1.0")
    for request in (old, post(body, b"Connection: close")):
        async with Raw(address) as raw:
            await raw.send(request)
            head, _, answer = (await raw.rest()).partition(b"\r\n\r\n")
            assert b"connection: close" in head
            assert answer == body
    async with Raw(address) as raw:
        await raw.send(post(body, alive) + GET)
        assert await raw.response() == (200, body)
        assert await raw.response() == (200, b"")


@pytest.mark.parametrize("short", [True, False], ids=["express", "handler"])
@pytest.mark.parametrize(
    ("status", "phrase", "line"),
    [
        (201, "", b"201 Created"),
        (210, "", b"210 "),
        (210, "Partial Success", b"210 Partial Success"),
        (200, "a\r\nx-evil: 1\0\tb\x7f", b"200 a x-evil: 1 b"),
        (200, "\r\n", b"200 "),
        (200, "é \N{SNOWMAN}", b"200 \xe9 ?"),
        (200, "x" * 100_000, b"200 " + b"x" * 128),
    ],
)
async def test_a_phrase_stands_in_the_status_line(  # noqa: PLR0917
    start: Start, address: str, status: int, phrase: str, line: bytes, short: bool
) -> None:
    """In place of the usual one, and cannot break out of it."""

    def receive(request: Request, body: Data, reply: Reply) -> None:
        reply.send(status, b"", b"abc", phrase)

    async def handle(_: Request) -> Response:
        return Response(status, [], b"abc", phrase)

    await start(handle, express=lambda _: receive if short else None)
    async with Raw(address) as raw:
        await raw.send(post(b""))
        assert await raw.head() == b"HTTP/1.1 " + line + b"\r\ncontent-length: 3"
        assert await raw.reader.readexactly(3) == b"abc"


async def test_head_and_204_have_no_body(start: Start, address: str) -> None:
    """The length of what GET would send; neither body nor length."""

    def receive(request: Request, body: Data, reply: Reply) -> None:
        reply.send(204 if request.path == b"/none" else 200, b"", b"abc")

    await start(never, express=lambda _: receive)
    async with Raw(address) as raw:
        await raw.send(GET.replace(b"GET", b"HEAD"))
        assert await raw.head() == b"HTTP/1.1 200 OK\r\ncontent-length: 3"
        await raw.send(GET.replace(b"/ ", b"/none "))
        assert await raw.head() == b"HTTP/1.1 204 No Content"
        await raw.send(GET)
        assert await raw.response() == (200, b"abc")


async def test_a_client_that_leaves_is_gone(start: Start, address: str) -> None:
    """The reply says so, takes the answer all the same, and nobody else is disturbed."""
    held = Held()
    await start(never, express=held)
    async with Raw(address) as raw:
        await raw.send(post(b"abc"))
        reply = await held.one()
        assert not reply.gone
    while not reply.gone:  # noqa: ASYNC110  nothing tells: that is the point of `gone`
        await asyncio.sleep(0.001)
    reply.send(200, b"", b"for nobody")
    async with Raw(address) as raw:
        await raw.send(post(b"abc"))
        (await held.one()).send(201, b"", b"")
        assert await raw.response() == (201, b"")


@pytest.mark.parametrize("size", [3, MIB])
async def test_a_client_that_leaves_within_its_body_is_forgotten(
    start: Start, address: str, size: int
) -> None:
    """Its receiver is never called."""
    held = Held()
    asked = asyncio.Event()

    def express(request: Request) -> Receiver | None:
        asked.set()
        return held(request)

    server = await start(never, express=express)
    async with Raw(address) as raw:
        await raw.send(post(bytes(size))[:-1])
        await asyncio.wait_for(asked.wait(), 30)
    await server.close(30)
    assert held.replies == []


@pytest.mark.parametrize("size", [3, MIB])
async def test_a_body_that_does_not_arrive_is_408(start: Start, address: str, size: int) -> None:
    """Small or large; its receiver is never called."""
    held = Held()
    await start(never, express=held, request_read_timeout_s=0.1)
    async with Raw(address) as raw:
        await raw.send(post(bytes(size))[:-1])
        assert (await raw.rest()).startswith(b"HTTP/1.1 408 ")
    assert held.replies == []


async def test_an_idle_connection_is_closed(start: Start, address: str) -> None:
    """One that waits for its answer is not idle."""
    held = Held()
    server = await start(never, express=held, write_timeout_s=0.05)  # so it looks often
    async with Raw(address) as raw:
        await raw.send(GET)
        reply = await held.one()
        server.limits = replace(server.limits, idle_timeout_s=0.05)
        await asyncio.sleep(0.2)
        reply.send(200, b"", b"")
        assert await raw.response() == (200, b"")
        assert await raw.rest() == b""


async def test_a_client_that_does_not_read_gets_no_more(start: Start, address: str) -> None:
    """A flood of requests whose answers nobody takes is bounded, and cut off."""
    answers = 0

    def receive(request: Request, body: Data, reply: Reply) -> None:
        nonlocal answers
        answers += 1
        reply.send(200, b"", bytes(MIB))

    async def handle(_: Request) -> Response:
        nonlocal answers
        answers += 1
        return Response(200, [], bytes(MIB))

    await start(handle, express=lambda _: receive, write_timeout_s=0.2)
    async with Raw(address) as raw:
        raw.writer.transport.pause_reading()
        await raw.send(GET * 200)
        await eventually(lambda: answers)
        await asyncio.sleep(0.1)
        assert answers < 10
        while not raw.writer.transport.is_closing():
            raw.writer.write(GET)
            await asyncio.sleep(0.01)
    assert answers < 10


async def test_a_receiver_that_breaks_is_500(
    start: Start, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The traceback goes to the log, not to the client; the connection goes on."""

    def receive(request: Request, body: Data, reply: Reply) -> None:
        if body:
            reply.send(200, b"", body)
        raise RuntimeError("secret detail")

    await start(never, express=lambda _: receive)
    async with Raw(address) as raw:
        for sent, status in ((b"", 500), (b"abc", 200), (b"", 500)):
            await raw.send(post(sent))
            got, body = await raw.response()
            assert got == status
            assert b"secret" not in body
    assert "secret detail" in caplog.text


async def test_a_second_answer_is_an_error(start: Start, address: str) -> None:
    """It must not become the answer to the next request."""
    held = Held()
    await start(never, express=held)
    async with Raw(address) as raw:
        await raw.send(GET)
        reply = await held.one()
        reply.send(200, b"", b"one")
        with pytest.raises(RuntimeError, match="second answer"):
            reply.send(200, b"", b"two")
        assert await raw.response() == (200, b"one")


async def test_closing_lets_running_requests_end(start: Start, address: str) -> None:
    """Also those whose body is still arriving; what was sent behind them is not begun."""
    held = Held()
    server = await start(never, express=held)
    async with Raw(address) as busy, Raw(address) as sending, Raw(address) as idle:
        await busy.send(GET + GET)
        reply = await held.one()
        await sending.send(post(bytes(MIB))[:-1])
        await idle.send(b"")
        await asyncio.sleep(0.05)
        closing = asyncio.create_task(server.close(30))
        assert await idle.rest() == b""
        await sending.send(b"\0")
        (await held.one()).send(200, b"", b"done")
        reply.send(200, b"", b"done")
        for raw in (busy, sending):
            rest = await raw.rest()
            assert rest.count(b"HTTP/1.1 200 OK") == 1
            assert b"connection: close" in rest
        await closing


async def test_closing_cuts_off_what_does_not_end(start: Start, address: str) -> None:
    """After the drain time the replies are gone."""
    held = Held()
    server = await start(never, express=held)
    async with Raw(address) as raw:
        await raw.send(GET)
        reply = await held.one()
        await server.close(0.05)
        assert reply.gone
        assert await raw.rest() == b""


def stream(rng: random.Random) -> bytes:
    """A few requests of all kinds, sometimes a bad one in the end."""
    out = b""
    for _ in range(rng.randint(1, 8)):
        body = rng.randbytes(rng.choice([0, 1, 3, 500, 70_000, 200_000]))
        match rng.randrange(6):
            case 0:
                out += b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                out += b"%x\r\n%b\r\n" % (len(body), body) if body else b""
                out += b"0\r\nT: x\r\n\r\n"
            case 1:
                out += rng.choice([b"\r\n", b""]) + GET.replace(b"GET", b"HEAD")
            case 2:
                out += post(body, b"Connection: keep-alive", b"X-Long: " + b"y" * 900)
            case _:
                out += post(body)
    last = post(b"ab", b"Connection: close")
    ends = [last, last, post(b"ab").replace(b"1.1", b"1.0"), b"bad\r\n\r\n", GET[:9] + b"\0"]
    return out + rng.choice([*ends, GET.replace(b"Host", b"H")])


@pytest.mark.parametrize("seed", range(12))
async def test_both_ways_answer_alike(start: Start, address: str, seed: int) -> None:
    """The same bytes for the same bytes, wherever they are cut and whoever answers."""
    rng = random.Random(seed)

    async def handle(request: Request) -> Response:
        body = await request.body.read(MIB)
        return Response(200, [(b"x-method", request.method.encode())], body)

    def some(request: Request) -> Receiver | None:
        return rng.choice([give_back, None])

    data = stream(rng)
    cuts = sorted(rng.choices(range(len(data)), k=rng.randint(0, 25)))
    cuts += rng.choices(range(min(len(data), 200)), k=rng.randint(0, 25))
    pieces = [data[a:b] for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), None], strict=True)]
    expresses: list[Express | None] = [None, lambda _: give_back, some]
    answers = []
    for number, express in enumerate(expresses):
        at = f"{address}.{number}"
        server = await start(handle, at, express=express, headers_bytes_max=2000)
        answers.append(await exchange(at, pieces))
        await server.close(0)
    assert answers[0].startswith(b"HTTP/1.1 ")
    assert answers[0] == answers[1] == answers[2]


async def exchange(address: str, pieces: list[bytes]) -> bytes:
    """All answers to a stream of requests that ends with a last one."""
    async with Raw(address) as raw:
        reading = asyncio.create_task(raw.rest())
        for piece in pieces:
            await raw.send(piece)
            await asyncio.sleep(0)
        return await reading
