"""The shared memory of two ends: bodies come out as they went in, and no lie of a side hurts."""

from __future__ import annotations

import fcntl
import os
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelplex.runtime import arena, frames
from modelplex.runtime.arena import RING_BYTES, Arena, ArenaError


@pytest.fixture
def ends():
    """Asker and giver of one arena."""
    descriptor = arena.make()
    both = Arena(descriptor, asker=True), Arena(descriptor, asker=False)
    os.close(descriptor)
    yield both
    for end in both:
        end.close()


SIZE = st.sampled_from(
    [20_000, 100_000, RING_BYTES // 3, RING_BYTES // 2 + 1, RING_BYTES, RING_BYTES + 1]
)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.one_of(SIZE, st.none()), max_size=15))
def test_bodies_come_out_in_order_and_whole(steps):
    """Written (a size) and read (None) in any order; what has no room is refused, never spoilt."""
    descriptor = arena.make()
    asker, giver = Arena(descriptor, asker=True), Arena(descriptor, asker=False)
    os.close(descriptor)
    waiting = []
    for number, size in enumerate(steps):
        if size is not None:
            edge = bytes([number + 1])
            body = edge + bytes(size - 2) + edge
            pointer = asker.put(body)
            assert pointer is not None or waiting or size > RING_BYTES
            if pointer is not None:
                waiting.append((pointer, size, number + 1))
        elif waiting:
            pointer, length, mark = waiting.pop(0)
            read = giver.get(pointer, RING_BYTES)
            assert (type(read), len(read), read[0], read[-1]) == (bytearray, length, mark, mark)
    asker.close()
    giver.close()


def test_both_directions_at_once(ends):
    """The rings do not touch each other."""
    asker, giver = ends
    there, back = asker.put(b"a" * RING_BYTES), giver.put(b"b" * RING_BYTES)
    assert giver.get(there, RING_BYTES) == b"a" * RING_BYTES
    assert asker.get(back, RING_BYTES) == b"b" * RING_BYTES


def test_memory_goes_back_and_comes_again(ends):
    """An emptied arena is of use at once; `on_use` hears of the first use after a rest."""
    asker, giver = ends
    heard = []
    descriptor = arena.make()
    told = Arena(descriptor, asker=True, on_use=lambda: heard.append(1))
    told.put(b"x")
    told.put(b"x")
    told.rested()
    told.put(b"x")
    told.close()
    os.close(descriptor)
    assert heard == [1, 1]
    giver.get(asker.put(b"a" * 100_000), RING_BYTES)
    asker.empty()
    assert giver.get(asker.put(b"b" * 100_000), RING_BYTES) == b"b" * 100_000


@pytest.mark.parametrize(
    "pointer",
    [
        b"",
        b"x" * 13,
        struct.pack("!QI", RING_BYTES - 1, 2),
        struct.pack("!QI", 0, 1001),
        struct.pack("!QI", 2**64 - 1, 1),
    ],
)
def test_a_pointer_that_cannot_be_is_refused(ends, pointer):
    """Too long, outside of the ring, above the limit."""
    with pytest.raises(ArenaError):
        ends[0].get(pointer, 1000)


def test_a_frame_without_an_arena_cannot_point(ends):
    """It is a broken frame, as one with a false pointer is."""
    asker, giver = ends
    sent = b"".join(frames.encode(16, 1, b"m", b"x" * 50_000, 0, asker))
    assert len(sent) < 100
    decoder = frames.Decoder(50_000)
    decoder.view[: len(sent)] = sent
    with pytest.raises(frames.FrameError, match="there is none"):
        decoder.received(len(sent))
    small = frames.Decoder(49_999)
    small.arena = giver
    small.view[: len(sent)] = sent
    with pytest.raises(frames.FrameError, match="49999 may"):
        small.received(len(sent))


@pytest.mark.parametrize("cut", [1, 20, 27, 28, 60])
def test_frames_in_the_arena_survive_the_wire(ends, cut):
    """Cut anywhere, several at once, on both kinds of reader."""
    asker, giver = ends
    for late in (False, True):
        bodies = [bytes([n]) * 20_000 for n in range(3)]
        sent = b"".join(b"".join(frames.encode(16, 1, b"m", body, 0, asker)) for body in bodies)
        decoder = frames.Decoder(50_000, late=late)
        decoder.arena = giver
        received = []
        for part in (sent[:cut], sent[cut:]):
            decoder.view[: len(part)] = part
            received += map(decoder.whole, decoder.received(len(part)))
        assert [frame.body for frame in received] == bodies


def _file(size: int, seals: int) -> int:
    descriptor = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def test_a_file_that_could_shrink_is_refused(tmp_path):
    """Who maps a file that another one truncates dies of SIGBUS."""
    right = arena.make()
    size = os.fstat(right).st_size
    with pytest.raises(PermissionError):
        os.ftruncate(right, 0)
    sealed = fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    (tmp_path / "file").write_bytes(b"")
    wrong = [
        _file(size, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL),
        _file(size - 1, sealed),
        os.open(tmp_path / "file", os.O_RDWR),
    ]
    for descriptor in wrong:
        with pytest.raises(ArenaError):
            Arena(descriptor, asker=True)
    for descriptor in (*wrong, right):
        os.close(descriptor)
