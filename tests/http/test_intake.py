"""Many slow clients with large bodies: bounded, answered in the end, in nobody else's way."""

from __future__ import annotations

import asyncio

import pytest

from modelplex.http.messages import Data, Handler, Request, Response
from modelplex.http.server import Reply
from tests.http.conftest import Start
from tests.http.raw import Raw
from tests.http.test_express import Held, give_back, never
from tests.http.test_server import GET, post
from tests.support.waiting import eventually

MIB = 1024 * 1024


@pytest.mark.parametrize("short", [True, False], ids=["express", "handler"])
async def test_more_bodies_than_there_is_room_for_are_all_answered(
    start: Start, address: str, short: bool
) -> None:
    """Forty bodies of a megabyte through room for sixteen, begun together."""
    peak = 0

    def receive(request: Request, body: Data, reply: Reply) -> None:
        reply.send(200, b"", b"%d" % sum(body[::1000]))

    async def handle(request: Request) -> Response:
        return Response(200, [], b"%d" % sum((await request.body.read(MIB))[::1000]))

    server = await start(
        handle, express=lambda _: receive if short else None, bodies_bytes_max=16 * MIB
    )
    server.room.wait_s = server.room.grace_s = 600.0

    async def one(number: int) -> None:
        nonlocal peak
        body = bytes([number]) * MIB
        async with Raw(address) as raw:
            sent = post(body)
            await raw.send(sent[: 20_000 + number])
            await asyncio.sleep(0.05)
            sending = asyncio.create_task(raw.send(sent[20_000 + number :]))
            peak = max(peak, server.room.used)
            assert await raw.response() == (200, b"%d" % sum(body[::1000]))
            await sending

    await asyncio.wait_for(asyncio.gather(*map(one, range(40))), 30)
    assert peak <= 17 * MIB
    assert server.room.used == 0


async def test_without_room_a_body_is_sent_away_and_small_ones_are_not(
    start: Start, address: str
) -> None:
    """503 and when to come again, once it has waited; 408 for those who hold and do not move."""
    held = Held()
    server = await start(never, express=held, bodies_bytes_max=MIB, write_timeout_s=0.5)
    server.room.wait_s = server.room.grace_s = 600.0
    async with Raw(address) as holds, Raw(address) as waits, Raw(address) as small:
        await holds.send(post(bytes(900_000))[:-1])
        await eventually(lambda: server.room.used >= 900_000)
        await waits.send(post(bytes(600_000))[:-1])
        await eventually(lambda: server.room.wanted)
        await small.send(GET)
        (await held.one()).send(200, b"", b"ok")
        assert await small.response() == (200, b"ok")
        server.room.wait_s = 0.1
        head, _, text = (await waits.rest()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 1" in head
        assert b"bodies_mib" in text
        await holds.send(b"x")
        (await held.one()).send(200, b"", b"ok")
        assert await holds.response() == (200, b"ok")


async def test_slow_readers_lose_their_answers_to_others(start: Start, address: str) -> None:
    """What does not fit is answered 503, what nobody takes is cut off, and then it fits again."""

    def receive(request: Request, _: object, reply: Reply) -> None:
        reply.send(200, b"", bytes(3 * MIB))

    async def handle(_: Request) -> Response:
        return Response(200, [], bytes(3 * MIB))

    def express(request: Request) -> object:
        return receive if request.path == b"/short" else None

    server = await start(
        handle, express=express, bodies_bytes_max=4 * MIB, request_read_timeout_s=0.5
    )  # so it looks often
    server.room.grace_s = 600.0
    async with Raw(address) as slow, Raw(address) as quick:
        slow.writer.transport.pause_reading()
        await slow.send(GET)
        while not server.room.used:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        for target in (b"/short ", b"/long "):
            await quick.send(GET.replace(b"/ ", target))
            assert (await quick.response())[0] == 503
        server.room.grace_s = 0.1
        await eventually(lambda: server.room.fits(4 * MIB))  # by which it is wanted until it is
        for target in (b"/short ", b"/long "):
            await quick.send(GET.replace(b"/ ", target))
            assert (await quick.response())[0] == 200


async def test_a_body_apart_from_its_known_head(start: Start, address: str, echo: Handler) -> None:
    """As most clients send it, in two writes or more; and a next request right behind it, which
    comes before the answer is written and is the handler's."""
    await start(echo, express=lambda _: give_back)
    async with Raw(address) as raw:
        for size in (3, 3, 20_000, 20_000, 3):
            body = bytes([size % 251]) * size
            head, _, _ = post(body).partition(b"\r\n\r\n")
            for piece in (head + b"\r\n\r\n", body[:2], body[2:] + GET):
                await raw.send(piece)
                await asyncio.sleep(0.002)
            assert await raw.response() == (200, body)
            assert await raw.response() == (200, b"")
