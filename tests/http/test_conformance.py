"""What the server makes of each kind of request, on both ways, whole and in pieces."""

from __future__ import annotations

import asyncio
import re

import pytest

from modelplex.http.express import Receiver
from modelplex.http.messages import Data, Request, Response
from modelplex.http.server import Express, Reply
from tests.http.cases import EXPECTED, PROBE, C, P
from tests.http.conftest import Start
from tests.http.raw import Raw

_STATUS = re.compile(rb"HTTP/1\.1 (\d\d\d) ")
_AT_ONCE = 32  # connections


async def handle(request: Request) -> Response:
    """Answers with the body; a probe is answered 299."""
    body = await request.body.read(1000)
    return Response(299 if request.path == b"/probe" else 200, [], body)


def express(_: Request) -> Receiver:
    """The same, the short way."""
    return _receive


def _receive(request: Request, body: Data, reply: Reply) -> None:
    reply.send(299 if request.path == b"/probe" else 200, b"", body)


async def ask(address: str, pieces: list[bytes]) -> bytes:
    """What comes back for these bytes until the server closes, without permissions to send."""
    async with Raw(address) as raw:
        for piece in pieces:
            await raw.send(piece)
            await asyncio.sleep(0)
        answer = await raw.rest()
    return answer.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")


def statuses(answer: bytes) -> tuple[int, ...]:
    """The statuses in it."""
    return tuple(int(status) for status in _STATUS.findall(answer))


@pytest.mark.parametrize("way", [None, express], ids=["ordinary", "express"])
async def test_each_kind_of_request_is_treated_as_the_table_says(
    start: Start, address: str, way: Express | None
) -> None:
    """And the request behind it is answered, or not read."""
    await start(handle, express=way)
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(data: bytes) -> tuple[int, ...]:
        async with places:
            return statuses(await ask(address, [data + PROBE]))

    got = await asyncio.gather(*[one(data) for _, data, _ in EXPECTED])
    wrong = {
        name: seen for (name, _, wanted), seen in zip(EXPECTED, got, strict=True) if seen != wanted
    }
    assert wrong == {}


@pytest.mark.parametrize("way", [None, express], ids=["ordinary", "express"])
@pytest.mark.parametrize(
    "data",
    [
        C + b'5;a="b;c"\r\nhello\r\n00;x\r\nA: b\r\n\r\n',
        P + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    ],
    ids=["chunks", "length"],
)
async def test_a_request_may_be_cut_anywhere(
    start: Start, address: str, way: Express | None, data: bytes
) -> None:
    """The same answers wherever the first piece ends."""
    await start(handle, express=way)
    whole = await ask(address, [data + PROBE])
    assert statuses(whole) == (200, 299)
    cuts = range(1, len(data))
    answers = [ask(address, [data[:cut], data[cut:] + PROBE]) for cut in cuts]
    assert set(await asyncio.gather(*answers)) == {whole}


async def test_a_deep_pipeline_is_answered_in_order(start: Start, address: str) -> None:
    """A thousand requests in one write, some of them the short way's."""

    async def echo(request: Request) -> Response:
        return Response(200, [], request.target)

    def sometimes(request: Request) -> Receiver | None:
        return (
            (lambda r, _, reply: reply.send(200, b"", r.target)) if b"1" in request.target else None
        )

    await start(echo, express=sometimes)
    targets = [b"/%d" % number for number in range(1000)]
    async with Raw(address) as raw:
        await raw.send(b"".join(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % each for each in targets))
        assert [await raw.response() for _ in targets] == [(200, each) for each in targets]


async def test_permission_is_asked_for_anew(start: Start, address: str) -> None:
    """By a head that came with its body the first time, and comes alone the second."""
    await start(handle, express=express)
    head = P + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    async with Raw(address) as raw:
        await raw.send(head + b"abc")
        assert await raw.head() == b"HTTP/1.1 100 Continue"
        assert await raw.response() == (200, b"abc")
        await raw.send(head)
        assert await raw.head() == b"HTTP/1.1 100 Continue"
        await raw.send(b"abc")
        assert await raw.response() == (200, b"abc")
