"""How much a model will take, learned from what earlier ones took."""

from __future__ import annotations

from modelplex.core.footprint import Footprints

MIB = 1024 * 1024


def learned(*pairs: tuple[int, int]) -> Footprints:
    footprints = Footprints()
    for disk, memory in pairs:
        footprints.loaded(disk * MIB, memory * MIB)
    return footprints


def test_nothing_is_known_at_first() -> None:
    """A guess needs a load, and a usual size a fetch."""
    assert Footprints().memory_guess(MIB) is None
    assert Footprints().usual_disk_bytes is None


def test_what_a_process_takes_is_told_from_what_its_files_take() -> None:
    """4 MiB for the process and twice the file: a line, not a ratio."""
    footprints = learned((1, 6), (2, 8), (10, 24))
    assert footprints.memory_guess(5 * MIB) == 14 * MIB
    assert footprints.memory_guess(100 * MIB) == 204 * MIB


def test_small_models_do_not_make_a_large_one_absurd() -> None:
    """A few bytes of file with 4 MiB of process say nothing about 1 GiB of file."""
    footprints = Footprints()
    for extra in range(10):
        footprints.loaded(1000 + extra, 4 * MIB + extra * 100_000)
    guess = footprints.memory_guess(1024 * MIB)
    assert guess is not None
    assert 1024 * MIB <= guess <= 4.1 * 1024 * MIB


def test_a_guess_is_never_below_the_size_of_the_files() -> None:
    """Nor below nothing."""
    assert learned((100, 10)).memory_guess(50 * MIB) == 50 * MIB
    assert learned((100, 10)).memory_guess(0) == 0


def test_the_usual_artifact_is_the_mean() -> None:
    """Of all that were fetched."""
    footprints = Footprints()
    footprints.fetched(10)
    footprints.fetched(30)
    assert footprints.usual_disk_bytes == 20
