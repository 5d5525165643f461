"""Two channels over one pair of sockets, and the arena between them."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator

import pytest

from modelplex.runtime import frames
from modelplex.workers import sharing
from modelplex.workers.channel import Channel
from tests.support.waiting import eventually

LARGE = 300_000
BODY = 40


class End:
    """One side: what it has received, and how it answers SHARE_MEMORY."""

    def __init__(self, sock: socket.socket, asks: bool) -> None:
        self.received: asyncio.Queue[bytes] = asyncio.Queue()
        self.asks = asks
        self.channel = Channel(self._on_frame, 8_000_000)
        self.channel.open(sock)

    def _on_frame(self, frame: frames.Frame) -> None:
        if frame.kind != frames.SHARE_MEMORY:
            self.received.put_nowait(bytes(frame.body))
        elif self.asks:
            self.channel.take_arena()
        else:
            self.channel.give_arena()

    def send(self, body: bytes) -> int:
        """Sends a frame; how many buffers that took."""
        parts = frames.encode(BODY, 1, b"", body, 0, self.channel.arena)
        self.channel.send_later(parts)
        return len(parts)


@pytest.fixture
async def ends() -> AsyncIterator[tuple[End, End]]:
    """The side that asks for an arena and the side that gives it."""
    ours, theirs = socket.socketpair()
    both = End(ours, asks=True), End(theirs, asks=False)
    yield both
    for end in both:
        end.channel.close()
    assert not sharing._living


async def shared(ends: tuple[End, End]) -> None:
    """Has both ends share memory."""
    ends[0].channel.want_arena(lambda: False)
    await eventually(lambda: all(end.channel.arena for end in ends))


async def test_large_bodies_go_through_the_arena_both_ways(ends):
    """In their order, among small ones and those that find no room there."""
    asker, giver = ends
    await shared(ends)
    bodies = [
        bytes([n + 1]) * size for n, size in enumerate((LARGE, 10, 7_000_000, LARGE, 5_000_000))
    ]
    for sender, receiver in ((asker, giver), (giver, asker)):
        buffers = [sender.send(body) for body in bodies]
        assert buffers == [1, 1, 1, 1, 2]
        assert [await receiver.received.get() for _ in bodies] == bodies


async def test_an_arena_is_given_when_the_other_side_reads_again(ends):
    """Its descriptor goes along with bytes that are sent at once; until then there is none."""
    asker, giver = ends
    asker.channel._loop.remove_reader(asker.channel._sock)
    giver.send(b"a" * 6_000_000)
    asker.channel.want_arena(lambda: False)
    await asyncio.sleep(0.01)
    assert giver.channel.backed_up
    assert giver.channel.arena is None
    asker.channel._loop.add_reader(asker.channel._sock, asker.channel._read)
    assert await asker.received.get() == b"a" * 6_000_000
    await shared(ends)


async def test_no_descriptor_is_left_by_either_end(ends):
    """Not of the arena, nor of what comes along unasked or twice."""
    before = set(os.listdir("/proc/self/fd"))
    extra = [os.open("/dev/null", os.O_RDONLY) for _ in range(2)]
    ends[0].channel.want_arena(lambda: False)
    ends[1].channel.send(frames.encode(BODY, 1, b"", b"x"), extra)
    for descriptor in extra:
        os.close(descriptor)
    await ends[0].received.get()
    await asyncio.sleep(0.01)
    for end in ends:
        end.channel.close()
    left = set(os.listdir("/proc/self/fd")) - before
    assert not left


async def test_only_so_many_channels_share(ends, monkeypatch):
    """The others go on as they were."""
    monkeypatch.setattr(sharing, "ARENAS_MAX", 0)
    asker, giver = ends
    asker.channel.want_arena(lambda: False)
    assert asker.send(b"x" * LARGE) == 2
    assert await giver.received.get() == b"x" * LARGE
