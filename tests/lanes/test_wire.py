"""What is in the frames of a lane."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelplex.lanes import wire
from modelplex.runtime import frames
from modelplex.workers.invocations import pack

plain = st.binary(max_size=30).map(lambda value: value.replace(b"\0", b""))
headers = st.lists(st.tuples(plain, plain), max_size=5)


def decoded(parts: list[frames.Data]) -> frames.Frame:
    """The one frame that was encoded."""
    decoder = frames.Decoder(10**6)
    data = b"".join(parts)
    found: list[frames.Frame] = []
    while data:
        view = decoder.view
        count = min(len(view), len(data))
        view[:count] = data[:count]
        data = data[count:]
        found += decoder.received(count)
    (frame,) = found
    return frame


@settings(max_examples=50)
@given(plain, plain, headers, st.binary(max_size=40_000))
def test_a_request_comes_as_it_was_sent(
    model: bytes, request_id: bytes, named: list[tuple[bytes, bytes]], body: bytes
) -> None:
    """Model, id, headers and body, whatever bytes they are but NUL."""
    packed = pack(named)
    frame = decoded(wire.encode_ask(7, wire.Ask(model, request_id, packed), body))
    assert (frame.kind, frame.request, frame.body) == (wire.ASK, 7, body)
    ask = wire.decode_ask(frame.meta)
    assert ask == (model, request_id, packed)
    assert wire.unpack(ask.packed) == named


@settings(max_examples=50)
@given(
    st.sampled_from(wire.STARTS),
    st.floats(0, 1000, width=32),
    st.binary(max_size=200),
    st.binary(max_size=40_000),
)
def test_an_answer_comes_as_it_was_sent(
    start: str, handle_s: float, head: bytes, body: bytes
) -> None:
    """Status, what the instance tells, header lines and body."""
    told = wire.Told(start, handle_s, 1.5, 0.25)
    frame = decoded(wire.encode_answer(9, wire.Answer(424, told, head, body)))
    assert (frame.kind, frame.request) == (wire.ANSWER, 9)
    assert wire.decode_answer(frame) == (424, told, head, body)


@pytest.mark.parametrize("meta", [b"", b"\x09" + bytes(12)])
def test_an_answer_that_is_none(meta: bytes) -> None:
    """Too short, or of an unknown start: FrameError."""
    with pytest.raises(frames.FrameError, match="cannot be read"):
        wire.decode_answer(decoded(frames.encode(wire.ANSWER, 1, meta)))


def test_a_lane_lies_beside_the_socket() -> None:
    """Both names come from one, whether or not it has the usual ending."""
    assert wire.path_beside("/run/i-1.sock") == "/run/i-1.lane"
    assert wire.path_beside("/run/i-1") == "/run/i-1.lane"
