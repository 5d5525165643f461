"""Scenarios out of tables: what they say is what is played, and mistakes are explained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelplex.core.sizing import GIB
from modelplex.sim import scenario
from modelplex.sim.document import ScenarioError, quantity
from modelplex.sim.failures import Death

EVERYTHING = """
seed = 7
requests = 100
duration_s = "1h"

[[models]]
count = 10
size_bytes = "20MB"

[[models]]
count = 5
size_bytes = "1GiB"

[[traffic]]
rate_per_s = 3

[instances]
type = "ml.m5.large"
count = 2
network_bytes_per_s = "1Gbit"

[limits]
policy = "gdsf"
cache_enabled = false

[placement]
imbalance = 0.5

[[rules]]
pattern = "m1"
pinned = true

[[deaths]]
instance = 1
at_s = "10min"
"""


@pytest.mark.parametrize(
    ("text", "number"),
    [("20MB", 20e6), ("1.5GiB", 1.5 * GIB), ("250ms", 0.25), ("2h", 7200), ("10Gbit", 1.25e9),
     ("2%", 0.02), ("1_000", 1000), ("1e3", 1000), (" 5 min ", 300)],
)  # fmt: skip
def test_quantities_have_units(text: str, number: float) -> None:
    assert quantity(text, "it") == pytest.approx(number)


def test_a_file_says_everything(tmp_path: Path) -> None:
    path = tmp_path / "scenario.toml"
    path.write_text(EVERYTHING)
    found = scenario.read(scenario.load(path))
    make = found.make()
    assert [kind.count for kind in found.models] == [10, 5]
    assert found.failures == (Death(1, 600.0),)
    assert (make.vcpus, make.limits.loads_max) == (2.0, 2)
    assert make.limits.memory_bytes == 8 * GIB - 200_000_000
    assert make.limits.policy == "gdsf"
    assert not make.limits.cache_enabled
    assert make.rules[0].pinned
    assert found.run().requests == 100


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({"requsts": 5}, "did you mean requests"),
        ({"models": [{"cuont": 5}]}, "did you mean count"),
        ({"models": [{"count": 0}]}, "above 0"),
        ({"models": {"count": 1}}, r"\[\[models\]\]"),
        ({"models": [{}]}, "models has no count"),
        ({"models": []}, "models is empty"),
        ({"traffic": [{"rate_per_s": "fast"}]}, "20MB"),
        ({"traffic": [{"rate_per_s": -1}]}, "below 0"),
        ({"traffic": [{"kind": 5}]}, "has to be a str"),
        ({"instances": {"type": "ml.m5.lrage"}}, "no instance type"),
        ({"instances": {"count": 1.5}}, "whole number"),
        ({"instances": {"count": True}}, "has to be a number"),
        ({"instances": 5}, "has to be a table"),
        ({"instances": {"memory_bytes": 1}, "limits": {"fetches_max": 0}}, "at least 1"),
        ({"instances": {"image_bytes": "1TB"}}, "nothing is left"),
        ({"limits": {"polciy": "lru"}}, "did you mean policy"),
        ({"limits": {"policy": "best"}}, "no policy is called"),
        ({"instances": {"count": 1}, "deaths": [{"instance": 1, "at_s": 5}]}, "cannot die"),
        ({"trace": "a", "log": "b"}, "not from both"),
    ],
)
def test_mistakes_are_explained(tables: dict[str, Any], told: str) -> None:
    with pytest.raises(ScenarioError, match=told):
        scenario.read(tables)


def test_a_file_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scenario.toml"
    path.write_text("seed = ")
    with pytest.raises(ScenarioError, match="no TOML"):
        scenario.load(path)
