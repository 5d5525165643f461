"""Streams of requests have the rates and the popularity that were asked for."""

from __future__ import annotations

from collections import Counter
from itertools import islice, takewhile

import pytest

from modelplex.sim.traffic import Arrival, Stream, merge


def requests(stream: Stream, until_s: float, models: int = 100) -> list[Arrival]:
    return list(takewhile(lambda each: each[0] < until_s, stream.arrivals(models, "seed")))


def test_the_same_seed_makes_the_same_requests() -> None:
    stream = Stream(daily=0.5, burst_every_s=60, shift_every_s=30)
    first, second = stream.arrivals(50, "1"), stream.arrivals(50, "1")
    assert list(islice(first, 500)) == list(islice(second, 500))
    assert list(islice(stream.arrivals(50, "2"), 9)) != list(islice(stream.arrivals(50, "1"), 9))


def test_popularity_is_zipfs() -> None:
    """With skew 1 the first model is asked for about twice as often as the second."""
    asked = Counter(model for _, model in requests(Stream(rate_per_s=100), 200))
    (_, first), (_, second), *rest = asked.most_common()
    assert first / second == pytest.approx(2.0, rel=0.2)
    assert len(rest) == 98
    assert len(requests(Stream(rate_per_s=100), 200)) == pytest.approx(20_000, rel=0.05)


def test_the_rate_falls_and_rises_with_the_day() -> None:
    """A day begins at its quietest hour."""
    found = requests(Stream(rate_per_s=20, daily=1.0, day_s=100), 100)
    thirds = Counter(int(at / 34) for at, _ in found)
    assert thirds[1] > 2 * thirds[0]
    assert len(found) == pytest.approx(2000, rel=0.1)


def test_bursts_multiply_the_rate_for_a_while() -> None:
    stream = Stream(rate_per_s=5, burst_every_s=100, burst_s=10, burst_factor=20)
    seconds = Counter(int(at / 10) for at, _ in requests(stream, 2000))
    assert max(seconds.values()) > 500
    assert sorted(seconds.values())[100] < 100


def test_popularity_shifts_and_every_model_stays_in_reach() -> None:
    stream = Stream(rate_per_s=50, skew=1.2, shift_every_s=10, shift_share=1.0)
    found = requests(stream, 20)
    hot = [
        Counter(model for at, model in found if begin <= at < begin + 10).most_common(1)[0][0]
        for begin in (0, 10)
    ]
    assert hot[0] != hot[1]
    even = Stream(rate_per_s=100, skew=0.0, shift_every_s=1, shift_share=0.3)
    assert len({model for _, model in requests(even, 30)}) == 100


def test_a_scan_takes_one_after_the_other_and_the_hot_one_is_always_the_same() -> None:
    scan = [model for _, model in islice(Stream("scan").arrivals(3, ""), 7)]
    assert scan == [0, 1, 2, 0, 1, 2, 0]
    assert {model for _, model in islice(Stream("hot", model=2).arrivals(3, ""), 9)} == {2}


def test_streams_are_merged_in_order_of_time() -> None:
    streams = [Stream("scan"), Stream("hot", start_s=5, end_s=6, rate_per_s=50)]
    merged = list(islice(merge(each.arrivals(9, "") for each in streams), 200))
    assert merged == sorted(merged, key=lambda each: each[0])
    assert any(model == 0 for at, model in merged if 5 <= at < 6)


@pytest.mark.parametrize(
    "wrong", [{"kind": "zapf"}, {"rate_per_s": 0.0}, {"daily": 2.0}, {"burst_every_s": 5.0}]
)
def test_impossible_streams_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)) if "kind" not in wrong else "zapf"):
        Stream(**wrong)  # type: ignore[arg-type]
