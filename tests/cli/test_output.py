"""Sizes and times as people read them."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from modelplex.cli.output import ago, size


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "-"),
        (0, "-"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (4_739_346_432, "4.7 GB"),
        (5 * 10**15, "5000.0 TB"),
    ],
)
def test_sizes(count: int | None, text: str) -> None:
    """One digit after the point, in the largest unit that fits."""
    assert size(count) == text


def test_times() -> None:
    """How long ago, in the largest unit; never is a dash."""
    now = time.time()
    assert [ago(None), ago(now - 65), ago(now - 7300), ago(now - 200_000)] == [
        "-",
        "1 min ago",
        "2 h ago",
        "2 d ago",
    ]
    assert ago(datetime.fromtimestamp(now - 3700, UTC)) == "1 h ago"
