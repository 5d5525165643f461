"""A body by itself: what its reader gets, whatever arrives."""

from __future__ import annotations

import asyncio

import pytest

from modelplex.http.body import HIGH_WATER, Body
from modelplex.http.errors import BodyTimeout, BodyTooLarge, ConnectionLost


class Recorder:
    """A connection that notes what the body asks of it."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pause_body(self) -> None:
        self.calls.append("pause")

    def resume_body(self) -> None:
        self.calls.append("resume")

    def grant(self, body: Body, filled: int, whole: int) -> int:
        self.calls.append("grant")
        return whole if whole > HIGH_WATER else 0

    def body_wanted(self) -> None:
        self.calls.append("wanted")


async def test_a_body_that_is_here_is_not_waited_for() -> None:
    """read() returns the very piece that came."""
    data = b"abc" * 1000
    body = Body.of(data)
    assert await body.read(3000) is data
    assert await body.read(3000) == b""


async def test_reading_wakes_up_once() -> None:
    """However many pieces: the reader asks once and gets the whole."""
    flow = Recorder()
    body = Body(None, flow, 30)
    reading = asyncio.create_task(body.read(10**6))
    for _ in range(5):
        await asyncio.sleep(0)
        body.feed(b"x" * 100)
    body.finish()
    assert await reading == b"x" * 500
    assert flow.calls == ["wanted"]


async def test_too_much_is_too_much_at_once() -> None:
    """By the length, before anything came; without one, when it is exceeded."""
    body = Body(11, Recorder(), 30)
    with pytest.raises(BodyTooLarge):
        await body.read(10)
    assert isinstance(body.error, BodyTooLarge)
    body = Body(None, Recorder(), 30)
    body.feed(b"x" * 11)
    with pytest.raises(BodyTooLarge):
        await body.read(10)


async def test_an_unread_body_holds_its_sender_back() -> None:
    """Above the high mark the connection pauses; taking the bytes lets it go on."""
    flow = Recorder()
    body = Body(None, flow, 30)
    body.feed(bytes(HIGH_WATER))
    assert flow.calls == []
    body.feed(b"x")
    body.feed(b"y")
    assert flow.calls == ["pause"]
    pieces = aiter(body)
    assert len(await anext(pieces)) == HIGH_WATER + 2
    assert flow.calls == ["pause", "resume"]


async def test_a_complete_body_holds_nobody_back() -> None:
    """Its connection goes on with the next message, whether or not anyone reads this one."""
    flow = Recorder()
    body = Body(None, flow, 30)
    body.feed(bytes(HIGH_WATER + 1))
    body.finish()
    assert flow.calls == ["pause", "resume"]


async def test_a_reader_of_the_whole_is_not_held_back() -> None:
    """Its limit is the bound, not the high mark."""
    flow = Recorder()
    body = Body(None, flow, 30)
    reading = asyncio.create_task(body.read(10 * HIGH_WATER))
    await asyncio.sleep(0)
    for _ in range(3):
        body.feed(bytes(HIGH_WATER))
    body.finish()
    assert len(await reading) == 3 * HIGH_WATER
    assert "pause" not in flow.calls


async def test_what_came_is_read_before_the_failure() -> None:
    """Pieces first, then why there are no more."""
    body = Body(None, Recorder(), 30)
    body.feed(b"abc")
    body.fail(ConnectionLost("gone", sent=True))
    pieces = aiter(body)
    assert await anext(pieces) == b"abc"
    with pytest.raises(ConnectionLost):
        await anext(pieces)


async def test_a_stalled_body_times_out() -> None:
    """And stays failed."""
    body = Body(3, Recorder(), 0.01)
    with pytest.raises(BodyTimeout):
        await body.read(3)
    with pytest.raises(BodyTimeout):
        await anext(aiter(body))


async def test_a_complete_body_cannot_fail() -> None:
    """The connection's end after it is no news."""
    body = Body.of(b"abc")
    body.fail(ConnectionLost("gone", sent=True))
    assert await body.read(3) == b"abc"
