"""Paths read as Multi Model Server reads them."""

from __future__ import annotations

import pytest

from modelplex.server.api.paths import invoked, segments


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/", []),
        (b"//", []),
        (b"*", []),
        (b"/ping", ["ping"]),
        (b"/models/", ["models"]),
        (b"/models//invoke", ["models", "", "invoke"]),
        (b"/models/a%2Fb/invoke", ["models", "a/b", "invoke"]),
        (b"/predictions/%C3%BC+%20", ["predictions", "ü+ "]),
        (b"/%FF", ["�"]),
    ],
)
def test_segments(path: bytes, expected: list[str]) -> None:
    """Decoded one by one; empty ones at the end do not count."""
    assert segments(path) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/invocations", ""),
        (b"/invocations/m", None),
        (b"/models/m/invoke", "m"),
        (b"/models/m", None),
        (b"/models/predict", None),
        (b"/predictions/m", "m"),
        (b"/predictions/m/1.0", "m"),
        (b"/predictions", None),
        (b"/m/predict", "m"),
        (b"/predict", None),
        (b"/", None),
    ],
)
def test_what_a_path_invokes(path: bytes, expected: str | None) -> None:
    """A model by name, the one that is named elsewhere, or nothing."""
    assert invoked(segments(path)) == expected
