"""A few streams of the fuzzer (`python -m tests.http.fuzz`), other ones in every run."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.http.fuzz import answers, differ
from tests.http.fuzz.sides import sides

SEEDS = st.integers(0, 2**32)
Loop = Callable[[], asyncio.AbstractEventLoop]


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_requests_are_the_same_ones_whole_in_pieces_and_to_h11(
    loop: Loop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The ordinary way and the short way, with known heads and without; nothing is left behind."""
    tally = Counter[str]()

    @settings(max_examples=10, deadline=None)
    @given(st.lists(SEEDS, min_size=1, max_size=3))
    def check(seeds: list[int]) -> None:
        assert runner.run(differ_all(str(tmp_path), seeds, tally)) == []

    with asyncio.Runner(loop_factory=loop) as runner:
        check()
    assert tally["requests compared with h11"] > 0
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def differ_all(folder: str, seeds: list[int], tally: Counter[str]) -> list[str]:
    """What went wrong with these streams, and tasks that are left."""
    async with sides(folder) as both:
        found = [await differ.check(both, seed, tally) for seed in seeds]
    left = asyncio.all_tasks() - {asyncio.current_task()}
    return [text for text in [*found, *map(repr, left)] if text]


async def test_the_client_makes_of_answers_what_h11_does(tmp_path: Path) -> None:
    """Or one of its own errors."""
    tally = Counter[str]()
    found = [await answers.check(str(tmp_path), seed, tally) for seed in range(20)]
    assert [text for text in found if text] == []
    assert tally["answers compared with h11"] > 0
