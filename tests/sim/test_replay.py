"""Fact logs: a residency decides as it did, and a recording tells what was true."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from modelplex.core import events
from modelplex.core.limits import Limits
from modelplex.core.log import checkpoint, factlog
from modelplex.core.log.factlog import Header
from modelplex.sim import recording
from modelplex.sim.parts import Make
from modelplex.sim.population import Invented, Kind
from modelplex.sim.replay import replay, replay_log
from modelplex.sim.scenario import read
from modelplex.sim.traffic import Stream
from modelplex.sim.world import Fleet, World

MB = 1_000_000
LIMITS = Limits(memory_bytes=100 * MB, disk_bytes=300 * MB, loads_max=2)


@dataclass
class Recorder:
    """Writes down what one simulated machine is told and says."""

    world: World
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        residency = self.world.machines[0].residency
        self.lines.append(factlog.head(Header("i0", "1", 1000.0, checkpoint.take(residency))))
        handle = residency.handle

        def recorded(fact: events.Fact, now: float) -> list[events.Action]:
            orders = handle(fact, now)
            self.lines.append(factlog.line(now, fact, orders))
            return orders

        residency.handle = recorded  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def log() -> list[str]:
    """Of a busy machine."""
    models = Invented([Kind(20, size_bytes=10 * MB, size_spread=0.5, broken=0.1)], 3)
    traffic = Stream(rate_per_s=5, end_s=60).arrivals(20, "1")
    world = World(models, traffic, Fleet(Make(LIMITS, 2.0)))
    recorder = Recorder(world)
    world.run()
    return recorder.lines


def test_the_same_facts_lead_to_the_same_orders(log: list[str]) -> None:
    outcome = replay(log)
    assert outcome.difference is None
    assert outcome.facts == len(log) - 1
    assert outcome.orders > outcome.facts / 2
    assert outcome.seconds > 55


def test_the_first_other_decision_is_found(log: list[str]) -> None:
    """An order that is not in the log."""
    number = next(n for n, line in enumerate(log) if "\tLoad[" in line)
    other = "\t".join(each for each in log[number].split("\t") if not each.startswith("Load["))
    other = other.rstrip("\n") + "\n"
    found = replay([*log[:number], other, *log[number + 1 :]]).difference
    assert found is not None
    assert found.line == number + 1
    assert found.ordered != found.recorded


def test_a_fact_that_cannot_be_true_is_a_difference_too(log: list[str]) -> None:
    lie = factlog.line(0.0, events.Unloaded("never heard of"), [])
    found = replay([log[0], lie, *log[1:]]).difference
    assert found is not None
    assert "KeyError" in found.ordered[0]


def test_a_recording_tells_the_requests_and_what_is_true_of_the_models(
    log: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "facts.log"
    path.write_text("".join(log))
    found = recording.read((str(path),), Kind(1))
    truth = Invented([Kind(20, size_bytes=10 * MB, size_spread=0.5, broken=0.1)], 3)
    arrivals = list(found.arrivals())
    assert (found.limits, found.instances) == (LIMITS, 1)
    assert len(arrivals) == sum("Invoked[" in line for line in log)
    assert arrivals[0][0] == 0.0
    for index in range(len(found.models)):
        known = found.models.truth(index)
        real = truth.truth(truth.index(found.models.name(index)))
        assert known.flaw is real.flaw
        assert known.disk_bytes == real.disk_bytes
        assert known.handle_s == pytest.approx(real.handle_s, rel=0.5)


def test_a_log_may_be_a_folder_of_segments(log: list[str], tmp_path: Path) -> None:
    """Each with its own checkpoint; here the same one twice."""
    for name in ("1.log", "2.log"):
        (tmp_path / name).write_text("".join(log))
    outcome = replay_log(tmp_path)
    assert (outcome.difference, outcome.facts) == (None, 2 * len(log) - 2)
    assert len(recording.read((str(tmp_path),), Kind(2)).times) == 2 * sum(
        "Invoked[" in line for line in log
    )
    (tmp_path / "2.log").write_text(log[0] + factlog.line(0.0, events.Unloaded("who"), []))
    found = replay_log(tmp_path).difference
    assert found is not None
    assert (Path(found.segment).name, found.line) == ("2.log", 2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no \*\.log"):
        replay_log(tmp_path / "empty")


def test_a_recording_is_played_on_the_machine_it_was_made_on(
    log: list[str], tmp_path: Path
) -> None:
    """It comes close to what happened, though fetches and loads take their mean time now."""
    path = tmp_path / "facts.log"
    path.write_text("".join(log))
    report = read({"log": str(path)}).run()
    assert report.requests == sum("Invoked[" in line for line in log)
    assert report.fetches == sum("\tFetched[" in line for line in log)
    assert report.refused > 0
