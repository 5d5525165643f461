"""How a container's memory is divided among its models."""

from __future__ import annotations

import random

from modelplex.instance.containers.ledger import PART_BYTES_MIN, Ledger

MIB = 1024 * 1024


def test_a_load_is_what_the_container_grew_by() -> None:
    """And the base stays what it was."""
    ledger = Ledger(100 * MIB)
    ledger.begin("a", 100 * MIB)
    assert ledger.loaded("a", 130 * MIB) == 30 * MIB
    assert ledger.base_bytes == 100 * MIB


def test_loads_under_way_share_evenly() -> None:
    """What it grew by before the second began is the first's alone."""
    ledger = Ledger(100)
    ledger.begin("a", 100)
    ledger.begin("b", 50 * MIB + 100)
    a, b = ledger.loaded("a", 70 * MIB + 100), ledger.loaded("b", 80 * MIB + 100)
    assert (a, b) == (60 * MIB, 20 * MIB)
    assert ledger.part("a") == 60 * MIB


def test_later_growth_is_everybodys_in_proportion() -> None:
    """The container's own part too."""
    ledger = Ledger(10 * MIB)
    ledger.begin("a", 10 * MIB)
    ledger.loaded("a", 40 * MIB)
    ledger.measured(80 * MIB)
    assert (ledger.base_bytes, ledger.part("a")) == (20 * MIB, 60 * MIB)
    ledger.measured(40 * MIB)
    assert (ledger.base_bytes, ledger.part("a")) == (10 * MIB, 30 * MIB)


def test_a_measurement_that_failed_changes_nothing() -> None:
    """0 is no container's memory."""
    ledger = Ledger(100)
    ledger.measured(0)
    assert ledger.base_bytes == 100


def test_an_empty_container_is_all_base() -> None:
    """What a model did not give back is not forgotten, nor blamed on the next one."""
    ledger = Ledger(100 * MIB)
    ledger.begin("a", 100 * MIB)
    ledger.loaded("a", 150 * MIB)
    assert ledger.left("a", 120 * MIB) == 30 * MIB
    assert (ledger.base_bytes, ledger.part("a")) == (120 * MIB, 0)


def test_an_empty_container_that_takes_far_more_has_grown() -> None:
    """Twice its start and a quarter of the instance; never while it holds a model."""
    ledger = Ledger(100 * MIB)
    ledger.measured(400 * MIB)
    assert ledger.has_grown(1024 * MIB)
    assert not ledger.has_grown(4096 * MIB)
    ledger.begin("a", 400 * MIB)
    assert not ledger.has_grown(1024 * MIB)


def test_a_model_that_costs_nothing_to_see_costs_a_little() -> None:
    """Else nobody would ever evict it."""
    ledger = Ledger(100 * MIB)
    ledger.begin("a", 100 * MIB)
    assert ledger.loaded("a", 99 * MIB) == PART_BYTES_MIN


def test_the_parts_always_add_up() -> None:
    """Whatever happens in whatever order, no part is below 0 and their sum is the total."""
    dice = random.Random(5)
    ledger, total = Ledger(1000), 1000
    names: list[str] = []
    for step in range(2000):
        total = max(1, total + dice.randrange(-700, 1000))
        name = dice.choice(names) if names else ""
        match dice.randrange(4):
            case 0:
                names.append(f"m{step}")
                ledger.begin(f"m{step}", total)
            case 1 if name:
                ledger.loaded(name, total)
            case 2 if name:
                names.remove(name)
                ledger.left(name, total)
            case _:
                ledger.measured(total)
        parts = [ledger.base_bytes, *map(ledger.part, names)]
        assert min(parts) >= 0
        assert sum(parts) == total
