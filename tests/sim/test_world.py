"""Small worlds whose course can be foreseen."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from modelplex.core import events
from modelplex.core.limits import Limits
from modelplex.core.routing.placement import PlacementLimits
from modelplex.sim.failures import Death, SlowStore, Update
from modelplex.sim.parts import Make
from modelplex.sim.population import Invented, Kind
from modelplex.sim.scenario import read
from modelplex.sim.statistics import Report
from modelplex.sim.traffic import Arrival
from modelplex.sim.world import Fleet, World

MB = 1_000_000
KIND = Kind(
    10, size_bytes=10 * MB, process_bytes=0, load_s=1.0, load_bytes_per_s=1e12, handle_s=0.1
)
MAKE = Make(
    Limits(memory_bytes=25 * MB, disk_bytes=1000 * MB, loads_max=2, memory_guess_bytes=MB),
    vcpus=2.0,
    network_bytes_per_s=10.0 * MB,
    fetch_latency_s=0.5,
    unload_s=0.01,
)


def world(
    arrivals: Sequence[Arrival], kind: Kind = KIND, count: int = 1, **options: object
) -> World:
    fleet = Fleet(MAKE, count)
    return World(Invented([kind], 1), iter(arrivals), fleet, **options)  # type: ignore[arg-type]


def outcomes(arrivals: Sequence[Arrival], **options: object) -> dict[str, int]:
    return world(arrivals, **options).run().outcomes  # type: ignore[arg-type]


def test_a_first_request_waits_for_a_fetch_and_a_load_and_a_second_one_for_nothing() -> None:
    """0.5 s to the first byte, 1 s for 10 MB at 10 MB/s, 1 s of load."""
    report = world([(0.0, 0), (10.0, 0)]).run()
    assert report.outcomes == {"cold": 1, "warm": 1}
    assert report.wait_max_s == pytest.approx(2.5, rel=1e-3)
    assert (report.fetches, report.loads, report.fetched_bytes) == (1, 1, 10 * MB)
    assert report.cold_cost_s == pytest.approx(1000 * 2.5 / 2, rel=1e-3)


def test_one_that_had_to_go_comes_back_from_the_disk() -> None:
    """Memory for two: the third makes the first go."""
    report = world([(0.0, 0), (10.0, 1), (20.0, 2), (30.0, 0)]).run()
    assert report.outcomes == {"cold": 3, "disk": 1}
    assert report.evictions == 2
    assert report.memory_peak_bytes == 20 * MB


def test_answers_share_the_vcpus() -> None:
    """Three models at once on two vCPUs: 0.1 s of work takes 0.15 s."""
    arrivals = [(20.0, 0), (40.0, 1)]
    alone = world([*arrivals, (60.0, 0)]).run()
    assert alone.total_p50_s == pytest.approx(2.6, rel=0.02)
    plenty = Make(Limits(memory_bytes=100 * MB, disk_bytes=1000 * MB), vcpus=2.0)
    first = [(float(10 * n), n) for n in range(3)]
    every = [*first, *((100.0, n) for n in range(3))]
    models = Invented([KIND], 1)
    report = World(models, iter(every), Fleet(plenty), warmup_s=50.0).run()
    assert report.outcomes == {"warm": 3}
    assert report.total_p99_s == pytest.approx(0.15, rel=0.02)


def test_the_network_is_shared() -> None:
    """Two fetches of 1 s each, at once, take 2 s."""
    report = world([(0.0, 0), (0.0, 1)]).run()
    assert report.fetch_s == pytest.approx(2 * 2.5)


def test_a_death_loses_what_had_begun_and_sends_the_rest_elsewhere() -> None:
    """The request in the handler fails; the one that waits is answered by the other instance."""
    slow = Kind(10, size_bytes=10 * MB, process_bytes=0, handle_s=5.0)
    both = [(0.0, 0), (4.0, 1), (4.0, 2), (4.0, 3), (4.0, 4), (4.0, 5), (30.0, 0)]
    deaths = [Death(0, 4.5, 5.0), Death(1, 12.0, 5.0)]
    played = world(both, kind=slow, count=2, failures=deaths, window_s=1.0)
    report = played.run()
    assert sum(report.outcomes.values()) == 7
    assert report.failed > 0
    assert report.refused == 0
    assert min(window.instances for window in report.windows) == 1


def test_with_no_instance_left_requests_wait_for_ten_seconds() -> None:
    back_soon, back_late = Death(0, 1.0, 5.0), Death(0, 1.0, 50.0)
    assert outcomes([(2.0, 0)], failures=[back_soon]) == {"cold": 1}
    assert outcomes([(2.0, 0)], failures=[back_late]) == {"unreachable": 1}


def test_a_kept_disk_saves_the_fetch() -> None:
    arrivals = [(0.0, 0), (20.0, 0)]
    lost, kept = Death(0, 10.0, 1.0), Death(0, 10.0, 1.0, keeps_disk=True)
    assert outcomes(arrivals, failures=[lost]) == {"cold": 2}
    assert outcomes(arrivals, failures=[kept]) == {"cold": 1, "disk": 1}


def test_a_slow_store_makes_fetches_slow_for_a_while() -> None:
    arrivals = [(10.0, 0), (100.0, 1)]
    report = world(arrivals, failures=[SlowStore(5.0, 20.0, factor=4.0)]).run()
    assert report.fetch_s == pytest.approx((0.5 + 4.0) + (0.5 + 1.0))


def test_flawed_models_fail_and_hurt_nobody_else() -> None:
    """All models missing, broken or crashing; every request has its end."""
    arrivals = [(float(n), n % 10) for n in range(60)]
    for flaw in ("missing", "broken", "crashing"):
        kind = Kind(10, size_bytes=MB, process_bytes=0, **{flaw: 1.0})  # type: ignore[arg-type]
        played = world(arrivals, kind=kind, crash_chance=0.5)
        assert sum(played.run().outcomes.values()) == 60
        played.machines[0].residency.check()
        assert not played.machines[0].calls


def test_a_bad_version_is_not_taken_and_a_good_one_is() -> None:
    updates = [Update(20.0, 0, broken=True), Update(40.0, 0)]
    arrivals = [(float(n), 0) for n in range(0, 60, 2)]
    played = world(arrivals, failures=updates)
    report = played.run()
    assert report.refused == report.failed == 0
    assert played.statistics.work["discard"] == 1
    assert played.statistics.work["switch"] == 1


def test_models_may_share_a_worker() -> None:
    """A hundred in memory that one process each could not have."""
    kind = Kind(100, size_bytes=1000, process_bytes=5 * MB, load_s=0.01, handle_s=0.001)
    limits = Limits(memory_bytes=100 * MB, disk_bytes=1000 * MB, models_per_worker=50)
    arrivals = [(n / 10, n % 100) for n in range(300)]
    played = World(Invented([kind], 1), iter(arrivals), Fleet(Make(limits, 2.0)), warmup_s=20.0)
    report = played.run()
    played.machines[0].residency.check()
    assert report.refused == report.failed == 0
    assert report.warm > 0.9
    assert report.memory_peak_bytes < 100 * MB


def busy(seed: int = 1) -> Report:
    """Everything at once."""
    tables = {
        "seed": seed,
        "requests": 300,
        "models": [{"count": 60, "size_spread": 1.0, "crashing": 0.1, "broken": 0.02}],
        "traffic": [{"rate_per_s": 8, "shift_every_s": 30}, {"kind": "scan", "rate_per_s": 2}],
        "instances": {"count": 3, "memory_bytes": "300MB", "disk_bytes": "1GB", "vcpus": 2},
        "deaths": [{"instance": 1, "at_s": 15, "down_s": 5, "keeps_disk": True}],
        "slow_stores": [{"at_s": 20, "for_s": 5}],
        "updates": [{"at_s": 10, "model": 3}],
    }
    return read(tables).run()


def test_the_same_seed_comes_to_the_same_end_to_the_last_byte() -> None:
    texts = [json.dumps(busy(seed).document()) for seed in (1, 1, 2)]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_a_world_keeps_what_must_hold() -> None:
    """Between any two events of a small one."""
    tables = {
        "requests": 300,
        "models": [{"count": 30, "size_spread": 1.0, "crashing": 0.2}],
        "traffic": [{"rate_per_s": 20}],
        "instances": {"memory_bytes": "200MB", "disk_bytes": "400MB", "vcpus": 2},
    }
    played = read(tables).world()
    machine, tell = played.machines[0], played.machines[0].tell

    def checked(fact: events.Fact, now: float) -> None:
        tell(fact, now)
        machine.residency.check()

    machine.tell = checked  # type: ignore[method-assign]
    report = played.run()
    assert report.requests == 300
    assert report.memory_peak_bytes <= 200 * MB


def test_several_gateways_load_a_model_once() -> None:
    """Requests come to any of them; all send a model where it is."""
    arrivals = [(10.0 * n + 0.01 * m, n % 4) for n in range(12) for m in range(5)]
    reports = [
        World(Invented([KIND], 1), iter(arrivals), Fleet(MAKE, 3, limits)).run()
        for limits in (PlacementLimits(), PlacementLimits(gateways=3))
    ]
    assert reports[0].outcomes == reports[1].outcomes
    assert reports[0].loads == reports[1].loads
