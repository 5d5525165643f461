"""Invented models are the same every time, and have the shape that was asked for."""

from __future__ import annotations

from statistics import median

import pytest

from modelplex.sim.population import Invented, Kind
from modelplex.sim.truth import Flaw


def test_a_model_follows_from_the_seed_and_its_number() -> None:
    kinds = [Kind(50, size_spread=1.0, handle_spread=0.5)]
    first, second, other = Invented(kinds, 1), Invented(kinds, 1), Invented(kinds, 2)
    assert second.truth(7) == first.truth(7)
    assert other.truth(7) != first.truth(7)
    assert first.index(first.name(7)) == 7


def test_sizes_have_their_median_and_their_limit() -> None:
    models = Invented(
        [Kind(2000, size_bytes=1_000_000, size_spread=1.0, size_max_bytes=3_000_000)], 1
    )
    sizes = [models.truth(index).disk_bytes for index in range(2000)]
    assert median(sizes) == pytest.approx(1_000_000, rel=0.1)
    assert max(sizes) == 3_000_000


def test_kinds_follow_each_other_and_flaws_have_their_share() -> None:
    models = Invented([Kind(10, size_bytes=5), Kind(1000, size_bytes=7, broken=0.2)], 1)
    assert len(models) == 1010
    assert {models.truth(index).disk_bytes for index in range(10)} == {5}
    broken = [i for i in range(10, 1010) if models.truth(i).flaw is Flaw.BROKEN]
    assert 150 < len(broken) < 250
    with pytest.raises(IndexError):
        models.truth(1010)


def test_memory_is_the_process_and_what_the_artifact_becomes() -> None:
    truth = Kind(
        1, process_bytes=100, memory_per_byte=2.0, load_s=1.0, load_bytes_per_s=10.0
    ).truth(50)
    assert (truth.disk_bytes, truth.memory_bytes, truth.load_s) == (50, 200, 6.0)
