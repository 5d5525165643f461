"""The headers of answers, as pairs and as bytes."""

from __future__ import annotations

import pytest

from modelplex.http.messages import Header, encode_headers
from modelplex.server.api.answers import Envelope

CORS: list[Header] = [(b"access-control-allow-origin", b"*")]


@pytest.mark.parametrize("cors", [[], CORS], ids=["plain", "cors"])
@pytest.mark.parametrize(
    "own",
    [
        [],
        [(b"content-type", b"text/plain")],
        [(b"a", b"1"), (b"a", b"2")],
        [(b"expires", b"never"), (b"content-length", b"5"), (b"x-request-id", b"mine")],
        [(b"access-control-allow-origin", b"https://example.com")],
        [(b"x-large", b"x" * 5000)],
    ],
)
def test_both_forms_say_the_same(cors: list[Header], own: list[Header]) -> None:
    """Whichever path an answer takes, the first time and when it is remembered."""
    envelope = Envelope(cors)
    for request_id in (b"1", b"2"):
        expected = encode_headers(envelope.headers(request_id, own))
        assert envelope.block(request_id, own) == expected


@pytest.mark.parametrize("bad", [(b"x", b"1\r\ny: 2"), (b"x\n", b"1"), (b"x", b"\0")])
def test_a_header_that_breaks_its_line(bad: Header) -> None:
    """Is left out, and the others are sent."""
    block = Envelope([]).block(b"1", [bad, (b"good", b"1")])
    assert b"good: 1\r\n" in block
    assert b"y: 2" not in block
    assert b"\0" not in block


def test_what_is_remembered_is_bounded() -> None:
    """A handler may set other headers each time."""
    envelope = Envelope([])
    for number in range(5000):
        assert b"n: %d\r\n" % number in envelope.block(b"1", [(b"n", b"%d" % number)])
    assert len(envelope._blocks) <= 1024
