"""Everything that a simulated world is made of, as a TOML file or the command line gives it."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, get_type_hints

from modelplex.core.limits import Limits
from modelplex.core.policies import POLICIES
from modelplex.core.residency import Residency
from modelplex.core.routing.placement import PlacementLimits
from modelplex.core.rules import Rule
from modelplex.core.sizing import GIB, instance_type, is_known
from modelplex.sim import document, recording, trace
from modelplex.sim.document import ScenarioError
from modelplex.sim.failures import Death, Failure, SlowStore, Update
from modelplex.sim.parts import Make
from modelplex.sim.population import Invented, Kind
from modelplex.sim.recording import Recording
from modelplex.sim.statistics import Report
from modelplex.sim.traffic import Arrival, Stream, merge
from modelplex.sim.truth import Population
from modelplex.sim.world import Fleet, World

DEFAULT_TYPE = "ml.m5.xlarge"
DISK_PER_MEMORY = 4  # of an instance whose disk is not given


@dataclass(frozen=True, slots=True)
class Instances:
    """The fleet. A number that is 0 comes from the type."""

    type: str = ""  # ml.m5.xlarge, or what the log's instance was
    count: int = 0  # 0: as many as there are logs, else 1
    memory_bytes: int = 0  # for models; 0: all that the type has, without the image's
    image_bytes: int = 200_000_000  # of the memory: the zygote with its framework
    disk_bytes: int = 0  # 0: four times the memory
    vcpus: float = 0.0
    network_bytes_per_s: float = 1.25e9  # 10 Gbit/s: all fetches of an instance together
    fetch_latency_s: float = 0.03  # until an artifact's first byte
    unload_s: float = 0.01
    drop_s: float = 0.01


@dataclass(frozen=True, slots=True)
class Scenario:
    """One world. Models and traffic are invented unless a trace or logs tell them."""

    seed: int = 1
    requests: int = 100_000  # at most
    duration_s: float = math.inf  # no request comes later
    warmup_s: float = 0.0  # what comes before counts for nothing
    window_s: float = 0.0  # of the course over time; 0: a hundredth of the whole
    crash_chance: float = 0.1  # of a crashing model, at every request
    trace: str = ""  # a CSV file
    log: str = ""  # a fact log of a running instance; several: separated by commas
    models: tuple[Kind, ...] = (Kind(1000),)
    traffic: tuple[Stream, ...] = (Stream(),)
    instances: Instances = Instances()
    limits: tuple[tuple[str, Any], ...] = ()  # of core.limits.Limits, by name
    placement: PlacementLimits = PlacementLimits()  # noqa: RUF009 - frozen
    rules: tuple[Rule, ...] = ()
    failures: tuple[Failure, ...] = ()

    def make(self, recorded: Limits | None = None) -> Make:
        """What each instance has; what is not given is as recorded, else as the type has it."""
        given = self.instances
        kind = instance_type(given.type or DEFAULT_TYPE)
        memory = given.memory_bytes or int(kind.memory_gib * GIB) - given.image_bytes
        if memory <= 0:
            raise ScenarioError(f"image_bytes is {given.image_bytes}: nothing is left for models")
        vcpus = given.vcpus or float(kind.vcpus)
        limits = Limits(
            memory_bytes=memory,
            disk_bytes=given.disk_bytes or DISK_PER_MEMORY * memory,
            loads_max=max(1, int(vcpus)),
        )
        if recorded and not given.type:
            limits, vcpus = recorded, given.vcpus or float(recorded.loads_max)
        return Make(
            limits=replace(limits, **dict(self.limits)),
            vcpus=vcpus,
            network_bytes_per_s=given.network_bytes_per_s,
            fetch_latency_s=given.fetch_latency_s,
            unload_s=given.unload_s,
            drop_s=given.drop_s,
            rules=self.rules,
        )

    def with_policy(self, policy: str) -> Scenario:
        """The same with another eviction policy."""
        return replace(self, limits=tuple({**dict(self.limits), "policy": policy}.items()))

    def with_instances(self, type: str, count: int) -> Scenario:
        """The same with another fleet."""
        return replace(self, instances=replace(self.instances, type=type, count=count))

    def world(self, prepare: Callable[[Residency], None] | None = None) -> World:
        """A new one, at its beginning. Raises OSError, BadTrace, BadLog, ScenarioError."""
        recorded = self._recorded()
        models, arrivals = self._told(recorded)
        count = self.instances.count or (recorded.instances if recorded else 1)
        return World(
            models,
            islice(takewhile(lambda each: each[0] <= self.duration_s, arrivals), self.requests),
            Fleet(self.make(recorded.limits if recorded else None), count, self.placement),
            seed=self.seed,
            failures=self.failures,
            crash_chance=self.crash_chance,
            warmup_s=self.warmup_s,
            window_s=self.window_s or self._hundredth_s(),
            prepare=prepare,
        )

    def run(self) -> Report:
        """Play it."""
        return self.world().run()

    def _recorded(self) -> Recording | None:
        return recording.read(tuple(self.log.split(",")), self.models[0]) if self.log else None

    def _told(self, recorded: Recording | None) -> tuple[Population, Iterator[Arrival]]:
        if recorded:
            return recorded.models, recorded.arrivals()
        if self.trace:
            return trace.read(Path(self.trace), self.models[0])
        invented = Invented(self.models, self.seed)
        streams = [
            stream.arrivals(len(invented), f"{self.seed} {number}")
            for number, stream in enumerate(self.traffic)
        ]
        return invented, merge(streams)

    def _hundredth_s(self) -> float:
        """Windows of which a picture has about a hundred."""
        if self.trace or self.log:
            return 60.0
        expected_s = self.requests / sum(stream.rate_per_s for stream in self.traffic)
        return max(1.0, min(self.duration_s, expected_s) / 100)


_LISTS: dict[str, type[Any]] = {
    "models": Kind,
    "traffic": Stream,
    "rules": Rule,
    "deaths": Death,
    "slow_stores": SlowStore,
    "updates": Update,
}
_TABLES: dict[str, type[Any]] = {"instances": Instances, "placement": PlacementLimits}
_FAILURES = ("deaths", "slow_stores", "updates")
_SIMPLE = tuple(
    name for name in get_type_hints(Scenario) if name not in {*_LISTS, *_TABLES, "failures"}
)


def load(path: Path) -> dict[str, Any]:
    """The tables of a scenario's file. Raises OSError, ScenarioError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ScenarioError(f"{path} is no TOML: {error}") from None


def read(tables: document.Table) -> Scenario:
    """The scenario in these tables. Raises ScenarioError for whatever cannot be."""
    document.refuse_unknown(tables, [*_SIMPLE, *_LISTS, *_TABLES], "the scenario")
    hints = get_type_hints(Scenario)
    known: dict[str, Any] = {}
    for name, given in tables.items():
        if name in _LISTS:
            known[name] = _list(_LISTS[name], given, name)
        elif name in _TABLES:
            known[name] = document.read(_TABLES[name], given, name)
        elif name == "limits":
            known[name] = _limits(given)
        else:
            known[name] = document.value(hints[name], given, name)
    known["failures"] = tuple(each for name in _FAILURES for each in known.pop(name, ()))
    return checked(Scenario(**known))


def _list(kind: type[Any], given: object, name: str) -> tuple[Any, ...]:
    if not isinstance(given, list):
        raise ScenarioError(f"{name} is one table; write [[{name}]], it may be several")
    return tuple(document.read(kind, each, name) for each in given)


def _limits(given: document.Table) -> tuple[tuple[str, Any], ...]:
    """Some of an instance's limits, each of the right type."""
    document.require_table(given, "limits")
    hints = get_type_hints(Limits)
    document.refuse_unknown(given, hints, "limits")
    return tuple(
        (name, document.value(hints[name], value, f"limits.{name}"))
        for name, value in given.items()
    )


def checked(scenario: Scenario) -> Scenario:
    """The same, if it can be played as a whole. Raises ScenarioError."""
    policy = dict(scenario.limits).get("policy")
    if policy is not None and policy not in POLICIES:
        raise ScenarioError(f"no policy is called {policy!r}; there are {', '.join(POLICIES)}")
    if scenario.instances.type and not is_known(scenario.instances.type):
        raise ScenarioError(f"no instance type is called {scenario.instances.type!r}")
    for name in ("models", "traffic"):
        if not getattr(scenario, name):
            raise ScenarioError(f"{name} is empty; without it the default is used")
    if scenario.trace and scenario.log:
        raise ScenarioError("requests come from a trace or from a log, not from both")
    for death in scenario.failures:
        count = scenario.instances.count
        if isinstance(death, Death) and count and death.instance >= count:
            raise ScenarioError(f"instance {death.instance} cannot die; there are 0 to {count - 1}")
    if scenario.placement.gateways < 1:
        raise ScenarioError("placement.gateways is below 1: without a gateway nothing comes in")
    try:
        scenario.make()
    except ValueError as error:
        raise ScenarioError(f"limits: {error}") from None
    return scenario
