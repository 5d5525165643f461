"""Sizes and times as people read them."""

from __future__ import annotations

import io
import time
from contextlib import redirect_stdout
from datetime import UTC, datetime

import pytest

from modelplex.cli.output import ago, show_table, size


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


class Terminal(io.StringIO):
    """Standard output as a terminal of unknown (so 80 columns) width."""

    def isatty(self) -> bool:
        return True


def test_a_table_is_never_cut() -> None:
    """Names are there to be copied; a terminal that is too narrow wraps the line."""
    cells = ["m" * 100, "i" * 100, "9.9 MB"]
    with redirect_stdout(Terminal()) as terminal:
        show_table(["MODEL", "INSTANCE", ">MEMORY"], [cells], "none")
    assert terminal.getvalue().strip().splitlines()[-1].split(maxsplit=2) == cells
