"""Heads that are known from before, and when they may not be believed."""

from __future__ import annotations

import pytest

from modelplex.http.body import Body
from modelplex.http.heads import HEADS_MAX, Heads
from modelplex.http.messages import Header, Request
from tests.http.conftest import Start
from tests.http.raw import Raw
from tests.http.test_express import give_back, never

HEAD = b"POST /m HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n"


def request(length: int | None = 3, keep_alive: bool = True, *headers: Header) -> Request:
    return Request(
        "POST", b"/m", list(headers), Body.of(b""), "", keep_alive=keep_alive, length=length
    )


def seen(data: bytes, made: Request, express: bool = True) -> Heads:
    """Heads after one piece of data that made one request."""
    heads = Heads()
    heads.begin(made, express=express)
    heads.learn(data, len(data) - len(HEAD), between=True)
    return heads


def test_the_same_head_makes_the_same_request() -> None:
    """With any body of its length, and it is said where that begins."""
    made = request()
    heads = seen(HEAD + b"abc", made)
    assert heads.find(HEAD + b"xyz") == (made, len(HEAD))
    assert heads.find(HEAD + b"\r\n\r") == (made, len(HEAD))


@pytest.mark.parametrize(
    "data",
    [HEAD + b"abcd", HEAD.replace(b"/m", b"/n") + b"abc", b"abc", b""],
)
def test_what_is_more_or_other_than_the_request_takes_the_parser(data: bytes) -> None:
    """A head with more than its body, with one byte changed."""
    assert seen(HEAD + b"abc", request()).find(data) is None


@pytest.mark.parametrize(
    ("made", "express", "more"),
    [
        (request(), False, b""),
        (request(keep_alive=False), True, b""),
        (request(), True, b"EXPECT: 100-continue\r\n"),
    ],
)
def test_some_heads_are_not_kept(made: Request, express: bool, more: bytes) -> None:
    """Of requests for the handler, of the last one, and of those that wait for permission."""
    head = HEAD[:-2] + more + b"\r\n"
    heads = Heads()
    heads.begin(made, express=express)
    heads.learn(head + b"abc", 3, between=True)
    assert heads.find(head + b"abc") is None


@pytest.mark.parametrize("data", [b"PO", HEAD, HEAD + b"ab", HEAD + b"abc" + b"PO"])
def test_nothing_is_believed_once_a_message_began_within_a_piece(data: bytes) -> None:
    """The parser may hold a beginning: what follows it is not a head, whatever it looks like."""
    heads = seen(HEAD + b"abc", request())
    if HEAD in data:
        heads.begin(request(), express=True)
    heads.learn(data, 0, between=False)
    assert heads.find(HEAD + b"abc") is None
    heads.realign()
    assert heads.find(HEAD + b"abc") is not None


def test_two_requests_in_one_piece_are_not_taken_for_one() -> None:
    """Also when the second one's length is that of all that follows the first head."""
    heads = Heads()
    rest = b"abc" + HEAD
    heads.begin(request(), express=True)
    heads.begin(request(len(rest)), express=True)
    heads.learn(HEAD + rest, len(rest), between=True)
    assert heads.find(HEAD + rest) is None


def test_few_heads_are_kept() -> None:
    """A client that changes its headers all the time costs no memory."""
    heads = Heads()
    for number in range(HEADS_MAX + 1):
        head = HEAD.replace(b"/m", b"/%d" % number)
        heads.begin(request(), express=True)
        heads.learn(head + b"abc", 3, between=True)
        found = heads.find(head + b"abc")
        assert (found is not None) == (number < HEADS_MAX)


async def test_a_cut_method_before_a_known_head_is_refused(start: Start, address: str) -> None:
    """`PO` and then a whole known request is no request."""
    await start(never, express=lambda _: give_back)
    async with Raw(address) as raw:
        for _ in range(3):
            await raw.send(HEAD + b"abc")
            assert await raw.response() == (200, b"abc")
        await raw.send(HEAD + b"abcPO")
        assert await raw.response() == (200, b"abc")
        await raw.send(HEAD + b"abc")
        assert (await raw.response())[0] == 400
