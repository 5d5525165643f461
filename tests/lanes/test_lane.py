"""Both ends of a lane, on a real socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modelplex.http.errors import ConnectFailed
from modelplex.lanes.landing import Asked, Landing
from modelplex.lanes.lane import Lane
from modelplex.lanes.wire import NOTHING_TOLD, Answer, Ask
from tests.support.lanes import Caller, Flight, Lost, Unready

LINES = b"content-type: text/plain\r\n"


class Instance:
    """Keeps what is asked until the test answers it."""

    def __init__(self, path: Path) -> None:
        self.asked: asyncio.Queue[Asked] = asyncio.Queue()
        self.landing = Landing(str(path), self.asked.put_nowait, 10**6)


@pytest.fixture
async def instance(tmp_path: Path) -> AsyncIterator[Instance]:
    """One that listens."""
    instance = Instance(tmp_path / "i.lane")
    yield instance
    await instance.landing.close(0)


@pytest.fixture
async def lane(tmp_path: Path) -> AsyncIterator[Lane]:
    """To that instance."""
    lane = Lane(str(tmp_path / "i.lane"), 10**6)
    yield lane
    lane.close()


def ask(lane: Lane, body: bytes) -> asyncio.Task[bytes]:
    """One request; the answer's body."""

    async def body_of() -> bytes:
        return (await Caller(lane).ask("m", b"id", b"", body)).body

    return asyncio.create_task(body_of())


def answer(asked: Asked, body: bytes) -> None:
    """A good answer."""
    asked.answer(Answer(200, NOTHING_TOLD, LINES, body))


def leaving(asked: Asked) -> asyncio.Event:
    """Is set when the client has gone."""
    left = asyncio.Event()
    asked.on_leave = left.set
    return left


async def test_answers_find_their_questions(instance: Instance, lane: Lane) -> None:
    """Many at once over one connection, answered in any order, small and large."""
    bodies = [bytes([n]) * (n * 3000) for n in range(60)]
    tasks = [ask(lane, body) for body in bodies]
    asked = [await instance.asked.get() for _ in bodies]
    for each in reversed(asked):
        answer(each, bytes(each.body)[::-1] + b"!")
    assert await asyncio.gather(*tasks) == [body + b"!" for body in bodies]
    assert not lane.in_use


async def test_what_is_said_before_the_answer(instance: Instance, lane: Lane) -> None:
    """The caller knows whether its request still waits for its model."""
    task = asyncio.create_task(Caller(lane).ask("m", b"id-7", b"\0accept\0x", b"?"))
    asked = await instance.asked.get()
    assert asked.head == Ask(b"m", b"id-7", b"\0accept\0x")
    asked.waits()
    asked.begun()
    answer(asked, b"done")
    reply = await task
    assert reply.interims == ["waiting", "begun"]
    assert reply.headers == {"content-type": "text/plain"}
    answer(asked, b"again")  # nobody waits for it: dropped


async def test_not_ready(instance: Instance, lane: Lane) -> None:
    """An instance may say that it has not begun and will not."""
    task = ask(lane, b"?")
    (await instance.asked.get()).unready("it is Starting")
    with pytest.raises(Unready, match="it is Starting"):
        await task


async def test_who_leaves_is_told_of(instance: Instance, lane: Lane) -> None:
    """The instance hears it, and what it answers then reaches nobody."""
    task = ask(lane, b"?")
    asked = await instance.asked.get()
    left = leaving(asked)
    task.cancel()
    await asyncio.wait_for(left.wait(), 10)
    assert asked.gone
    answer(asked, b"too late")
    other = ask(lane, b"next")
    answer(await instance.asked.get(), b"in time")
    assert await other == b"in time"


async def test_a_gateway_that_dies_leaves_too(instance: Instance, lane: Lane) -> None:
    """All its requests are abandoned."""
    tasks = [ask(lane, b"?") for _ in range(3)]
    left = [leaving(await instance.asked.get()) for _ in tasks]
    lane.close()
    for task in tasks:
        with pytest.raises(Lost):
            await task
    await asyncio.wait_for(asyncio.gather(*(each.wait() for each in left)), 10)


@pytest.mark.parametrize("waits", [True, False])
async def test_a_lost_instance(instance: Instance, lane: Lane, *, waits: bool) -> None:
    """Only what still waited has certainly been seen by no handler. The next request connects."""
    task = ask(lane, b"?")
    asked = await instance.asked.get()
    if waits:
        asked.waits()
    await instance.landing.close(0.05)
    with pytest.raises(Lost) as lost:
        await task
    assert lost.value.unseen == waits
    with pytest.raises(ConnectFailed):
        await ask(lane, b"?")


async def test_an_instance_that_dies_without_reading(tmp_path: Path, lane: Lane) -> None:
    """What it has not read, no handler has seen."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "i.lane"))
        listener.listen()
        task = ask(lane, b"?")
        connection, _ = await asyncio.to_thread(listener.accept)
        await asyncio.sleep(0.02)
        connection.close()
        with pytest.raises(Lost) as lost:
            await task
        assert lost.value.unseen


async def test_an_instance_that_comes_back_is_connected_to_at_once(
    instance: Instance, lane: Lane, tmp_path: Path
) -> None:
    """Also by a request in the very turn in which the old connection is found lost."""
    first = ask(lane, b"?")
    answer(await instance.asked.get(), b"old")
    assert await first == b"old"
    await instance.landing.close(0)
    again = Instance(tmp_path / "i.lane")
    lane.close()  # as the channel does when it reads the end
    second = ask(lane, b"?")
    answer(await again.asked.get(), b"new")
    assert await second == b"new"
    await again.landing.close(0)


async def test_no_instance(lane: Lane) -> None:
    """Nobody listens: nothing was sent."""
    with pytest.raises(ConnectFailed, match="no lane to"):
        await ask(lane, b"?")


async def test_time_runs_out(instance: Instance, lane: Lane) -> None:
    """An instance that says nothing is given up, and told so."""
    loop = asyncio.get_running_loop()
    flight = Flight(100.0, loop.create_future())
    lane.ask(flight, Ask(b"m", b"id", b""), b"?")
    left = leaving(await instance.asked.get())
    lane.expire(99.0)
    assert lane.in_use
    lane.expire(101.0)
    with pytest.raises(Lost, match="did not answer in time"):
        await flight.result
    await asyncio.wait_for(left.wait(), 10)


async def test_an_end_in_good_order(instance: Instance, lane: Lane) -> None:
    """A landing that closes lets requests end."""
    task = ask(lane, b"?")
    asked = await instance.asked.get()
    closing = asyncio.create_task(instance.landing.close(10))
    await asyncio.sleep(0.01)
    answer(asked, b"the last")
    assert await task == b"the last"
    await asyncio.wait_for(closing, 5)
