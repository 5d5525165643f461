"""Quantiles against sorting."""

from __future__ import annotations

from random import Random

import pytest

from modelplex.sim.histogram import Histogram
from modelplex.sim.statistics import jain


def test_quantiles_are_one_percent_off_at_most() -> None:
    random, histogram = Random(1), Histogram()
    values = sorted(random.lognormvariate(-3.0, 2.0) for _ in range(5000))
    for value in values:
        histogram.add(value)
    for share in (0.01, 0.5, 0.9, 0.99, 0.999, 1.0):
        exact = values[max(0, int(share * len(values) + 0.999999) - 1)]
        assert histogram.quantile(share) == pytest.approx(exact, rel=0.011)
    assert histogram.mean == pytest.approx(sum(values) / len(values))
    assert histogram.most == values[-1]


def test_what_takes_no_time_is_nothing_and_what_takes_for_ever_has_an_end() -> None:
    histogram = Histogram()
    assert histogram.quantile(0.5) == histogram.mean == 0.0
    histogram.add(0.0)
    assert histogram.quantile(0.99) == 0.0
    histogram.add(1e9)
    assert histogram.quantile(0.99) > 9e4


def test_fairness_is_one_if_all_are_alike_and_one_nth_if_one_has_all() -> None:
    assert jain([3.0, 3.0, 3.0]) == pytest.approx(1.0)
    assert jain([3.0, 0.0, 0.0]) == pytest.approx(1 / 3)
    assert jain([]) == 1.0
