"""The wire format: what is encoded is decoded, however the bytes arrive."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelplex.runtime import frames

FRAME = st.tuples(
    st.integers(0, 255),
    st.integers(0, 0xFFFFFFFF),
    st.binary(max_size=300),
    st.one_of(st.integers(0, 100), st.sampled_from([9000, 20_000])),
    st.integers(0, 0xFFFF),
)


def feed(decoder: frames.Decoder, data: bytes, steps: list[int]) -> list[frames.Frame]:
    """Hands `data` to the decoder in pieces of these sizes, in turn."""
    received = []
    at = turn = 0
    while at < len(data):
        buffer = decoder.view
        count = min(len(buffer), steps[turn % len(steps)], len(data) - at)
        buffer[:count] = data[at : at + count]
        received += decoder.received(count)
        at += count
        turn += 1
    return received


@settings(max_examples=50, deadline=None)
@given(st.lists(FRAME, max_size=4), st.lists(st.integers(1, 20_000), min_size=1, max_size=5))
def test_frames_survive_the_wire(sent, steps):
    """In any sizes, cut anywhere."""
    sent = [(kind, number, meta, bytes(range(7)) * n, left) for kind, number, meta, n, left in sent]
    data = b"".join(bytes(part) for frame in sent for part in frames.encode(*frame))
    received = feed(frames.Decoder(1_000_000), data, steps)
    assert [(f.kind, f.request, f.meta, f.body, f.left) for f in received] == sent


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_waited_for(data):
    """No bytes make the decoder fail otherwise, or reserve more than its limit."""
    try:
        feed(frames.Decoder(1000), data, [len(data) or 1])
    except frames.FrameError:
        return


def test_large_meta_fits():
    """A head larger than one read is received too."""
    sent = b"v" * 800_000
    data = b"".join(frames.encode(frames.INVOKE, 1, sent, b"body"))
    (frame,) = feed(frames.Decoder(10), data, [8192])
    assert (frame.meta, frame.body) == (sent, b"body")


@pytest.mark.parametrize("body", [b"x" * 11, b"x" * 100_000])
def test_a_body_above_the_limit_is_refused(body):
    """Before memory is reserved for it."""
    with pytest.raises(frames.FrameError, match="too large"):
        feed(frames.Decoder(10), b"".join(frames.encode(1, 1, b"", body)), [4096])


def test_too_much_is_not_sent():
    """It would be refused at the other end."""
    with pytest.raises(frames.FrameError):
        frames.encode(1, 1, b"v" * (frames.META_BYTES_MAX + 1))
    with pytest.raises(frames.FrameError):
        frames.encode(1, 1, left=frames.BATCH_MAX + 1)


def test_an_order_has_values():
    """Texts that are no valid Unicode too, since paths and messages may hold anything."""
    (data,) = frames.order(1, 2, b"body", text="\ud800", number=3, nothing=None)
    (frame,) = feed(frames.Decoder(10), bytes(data), [100])
    assert frame.values() == {"text": "\ud800", "number": 3, "nothing": None}
    assert (frame.request, frame.body) == (2, b"body")


def test_a_large_body_is_not_copied_to_be_sent():
    """It is a buffer of its own, for scatter-gather writes."""
    body = b"x" * 1_000_000
    assert frames.encode(1, 1, b"", body)[1] is body
