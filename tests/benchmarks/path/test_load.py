"""Shapes and requests."""

from __future__ import annotations

import pytest

from benchmarks.path import load
from benchmarks.path.load import Ask, Shape


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("1K-8", Shape(1024, 8)),
        ("1M-32", Shape(1 << 20, 32)),
        ("64K-1-100", Shape(1 << 16, 1, 100)),
    ],
)
def test_a_shape_is_read_as_it_is_written(text: str, shape: Shape) -> None:
    assert load.shape(text) == shape
    assert shape.text == text


def test_what_is_no_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="1K-8"):
        load.shape("8")


def test_no_two_bodies_are_alike_and_together_they_are_bounded() -> None:
    small = load.bodies(1024)
    assert len(set(small)) == len(small) == load.REQUESTS
    assert {len(body) for body in small} == {1024}
    assert sum(map(len, load.bodies(1 << 20))) == load.REQUESTS_BYTES_MAX


def test_a_request_goes_over_the_wire_whole() -> None:
    assert load.wire(Ask("/p", ("a: b",), b"body"), 80) == (
        b"POST /p HTTP/1.1\r\nHost: 127.0.0.1:80\r\na: b\r\nContent-Length: 4\r\n\r\nbody"
    )
