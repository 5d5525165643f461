"""The planner's questions, on worlds where the answer is plain."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelplex.sim import plan
from modelplex.sim.document import ScenarioError
from modelplex.sim.failures import Death
from modelplex.sim.plan import Search, candidates, cheapest, target
from modelplex.sim.scenario import Scenario, read

# 100 models of 100 MB in memory: they fit into 2 instances of 8 GiB, and hardly into 1
SCENARIO = read(
    {
        "requests": 1000,
        "warmup_s": 30,
        "models": [{"count": 100, "size_bytes": "95MB", "load_s": 0.5}],
        "traffic": [{"rate_per_s": 20, "skew": 0.0}],
    }
)


def test_the_smallest_fleet_that_is_enough_is_found() -> None:
    wanted = Search(("ml.m5.large", "ml.m5.xlarge"), target("not warm<=1%"), 8)
    tried = list(candidates(SCENARIO, wanted))
    counts = [(each.type, each.count, each.met) for each in tried]
    assert counts[0] == ("ml.m5.large", 1, False)
    best = cheapest(tried)
    assert best is not None
    assert best.memory_gib == 16
    assert ("ml.m5.xlarge", 1, True) in counts


def test_a_fleet_may_not_be_found() -> None:
    impossible = Search(("ml.m5.large",), target("cold<=0%"), 1)
    tried = list(candidates(replace(SCENARIO, warmup_s=0.0), impossible))
    assert [each.count for each in tried] == [1]
    assert cheapest(tried) is None


def test_the_gap_between_too_few_and_enough_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five are enough: 1, 2, 4, 8, then 6, then 5."""
    report = replace(SCENARIO, requests=10).run()
    monkeypatch.setattr(
        Scenario,
        "run",
        lambda self: replace(report, cold=0.0 if self.instances.count >= 5 else 1.0),
    )
    tried = list(candidates(SCENARIO, Search((), target("cold<=1%"), 64)))
    assert [each.count for each in tried] == [1, 2, 4, 8, 6, 5]
    best = cheapest(tried)
    assert best is not None
    assert best.count == 5


def test_targets_are_read() -> None:
    assert target("cold<=2%, p99 wait <= 200ms").limits == (("cold", 0.02), ("p99 wait", 0.2))
    for wrong in ("cold", "colt<=2%", "cold<=x"):
        with pytest.raises(ScenarioError):
            target(wrong)


def test_a_death_makes_a_hole_that_closes_again() -> None:
    played = read(
        {
            "requests": 4000,
            "window_s": 5,
            "models": [{"count": 40, "size_bytes": "20MB", "load_s": 0.5}],
            "traffic": [{"rate_per_s": 20, "skew": 0.0}],
            "instances": {"count": 2, "vcpus": 4},
        }
    )
    death = Death(0, 100.0, 20.0)
    hole = plan.hole(plan.with_death(played, death).run(), death, warmup_s=50.0)
    assert hole.worst_s > 0.1 > hole.before_s
    assert hole.recovered_s is not None
    assert 0 < hole.recovered_s < 100


def test_the_peak_is_where_most_requests_are() -> None:
    played = read({"requests": 1000, "traffic": [{"rate_per_s": 5, "daily": 1, "day_s": 200}]})
    assert plan.peak_s(played.run()) == pytest.approx(100, abs=30)
