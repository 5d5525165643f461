"""What to do so that the endpoints that run become the endpoints that are wanted.

    Creating ──all healthy──▶ InService ──(DeleteEndpoint)──▶ Deleting ──none left──▶ forgotten
        └──one gave up, cannot start, died ENDS_MAX times, was not healthy in time──▶ Failed ──▲

`plan` looks at everything anew each time and remembers nothing, so it does not matter who ran it
last, or how often: actions that are carried out are not asked for again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

ENDS_MAX = 3  # an endpoint whose instance dies that often while it is created has failed
STEADY_S = 60.0  # an instance that ran this long did not die of its start
FIRST_DELAY_S = 0.5  # before the second restart, then doubled; the first is at once
SILENT_MAX_S = 30.0  # an instance that answers nothing for so long is replaced


class Process(Enum):
    RUNNING = "running"
    EXITED = "exited"
    ABSENT = "absent"  # never started, or stopped and buried


class Ping(Enum):
    """What an instance says of itself."""

    STARTING = "Starting"
    HEALTHY = "Healthy"
    SILENT = "Silent"  # it was healthy, and answers no more
    FAILED = "Failed"  # it gave up for good


@dataclass(frozen=True, slots=True)
class Ends:
    """How an instance's process ended lately: all that the next decision needs of the past."""

    count: int = 0  # in a row, none having run for STEADY_S
    at: float = 0.0
    reason: str = ""
    for_good: bool = False  # it could not even be started, and will not be the next time

    def another(self, started_at: float, now: float, reason: str, for_good: bool = False) -> Ends:
        """The same with one more end."""
        steady = now - started_at >= STEADY_S
        return Ends(1 if steady else self.count + 1, now, reason, for_good)

    def restart_at(self, delay_max_s: float) -> float:
        """When to start again: at once the first time, then after growing pauses."""
        if self.count <= 1:
            return self.at
        return self.at + min(FIRST_DELAY_S * 2.0 ** min(self.count - 2, 32), delay_max_s)


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance as it is observed. Times are the clock of `plan`'s `now`."""

    id: str
    process: Process
    ping: Ping = Ping.STARTING
    reason: str = ""  # why it gave up
    started_at: float = 0.0
    silent_for_s: float = 0.0
    ends: Ends = Ends()


@dataclass(frozen=True, slots=True)
class Variant:
    """The instances that one production variant should have, by id."""

    name: str
    instances: tuple[str, ...]
    startup_timeout_s: float


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint as it is wanted."""

    name: str
    status: str  # EndpointStatus, in SageMaker's words
    variants: tuple[Variant, ...]

    @property
    def instances(self) -> list[str]:
        return [instance for variant in self.variants for instance in variant.instances]


@dataclass(frozen=True, slots=True)
class StartInstance:
    instance: str


@dataclass(frozen=True, slots=True)
class StopInstance:
    instance: str


@dataclass(frozen=True, slots=True)
class SetStatus:
    endpoint: str
    status: str
    reason: str = ""  # FailureReason


@dataclass(frozen=True, slots=True)
class Forget:
    """Nothing of the endpoint runs any more: its record may go."""

    endpoint: str


Action = StartInstance | StopInstance | SetStatus | Forget


def plan(
    wanted: Iterable[Endpoint],
    observed: Iterable[Instance],
    now: float,
    restart_delay_max_s: float = 10.0,
) -> list[Action]:
    """The next actions. They are safe to carry out in any order.

    An instance that is not in `observed` is left alone, as when something is being done about it:
    absence has to be observed too.
    """
    wanted = list(wanted)
    seen = {instance.id: instance for instance in observed}
    owned = {instance for endpoint in wanted for instance in endpoint.instances}
    actions = _stops(instance for name, instance in seen.items() if name not in owned)
    for endpoint in wanted:
        actions += _plan_one(endpoint, seen, now, restart_delay_max_s)
    return actions


def _plan_one(
    endpoint: Endpoint, seen: Mapping[str, Instance], now: float, delay_max_s: float
) -> list[Action]:
    here = [seen[name] for name in endpoint.instances if name in seen]
    match endpoint.status:
        case "Creating":
            if change := _create(endpoint, seen, now):
                return change
        case "Failed":
            return _stops(here)
        case "Deleting":
            return _delete(endpoint, here)
    return _starts(here, now, delay_max_s) + _replace(endpoint, seen, now, delay_max_s)


def _create(endpoint: Endpoint, seen: Mapping[str, Instance], now: float) -> list[Action]:
    """The end of an endpoint's creation, if it has come."""
    for variant in endpoint.variants:
        for name in variant.instances:
            if name in seen and (problem := _problem(seen[name], variant, now)):
                return [SetStatus(endpoint.name, "Failed", problem)]
    if all(name in seen and _is_healthy(seen[name]) for name in endpoint.instances):
        return [SetStatus(endpoint.name, "InService")]
    return []


def _problem(instance: Instance, variant: Variant, now: float) -> str:
    """Why this instance will not come up; empty while it may."""
    where = f"Variant {variant.name}, instance {instance.id}"
    if instance.ends.for_good:
        return f"{where} could not start: {instance.ends.reason}"
    if instance.ends.count >= ENDS_MAX:
        return f"{where} died {instance.ends.count} times during its start: {instance.ends.reason}"
    if instance.process is not Process.RUNNING:
        return ""
    if instance.ping is Ping.FAILED:
        return f"{where} could not start: {instance.reason}"
    if _is_late(instance, variant, now):
        limit_s = variant.startup_timeout_s
        return f"{where} did not pass the ping health check within {limit_s:g} seconds."
    return ""


def _is_healthy(instance: Instance) -> bool:
    return instance.process is Process.RUNNING and instance.ping is Ping.HEALTHY


def _is_late(instance: Instance, variant: Variant, now: float) -> bool:
    waited_s = now - instance.started_at
    return instance.ping is Ping.STARTING and waited_s >= variant.startup_timeout_s


def _starts(instances: Iterable[Instance], now: float, delay_max_s: float) -> list[Action]:
    return [
        StartInstance(instance.id)
        for instance in instances
        if instance.process is not Process.RUNNING and instance.ends.restart_at(delay_max_s) <= now
    ]


def _stops(instances: Iterable[Instance]) -> list[Action]:
    """Stop what runs, and have what has ended by itself buried."""
    return [
        StopInstance(instance.id)
        for instance in instances
        if instance.process is not Process.ABSENT
    ]


def _replace(
    endpoint: Endpoint, seen: Mapping[str, Instance], now: float, delay_max_s: float
) -> list[Action]:
    """Stop the instances that run and are of no use; they are started again when they are gone."""
    return [
        StopInstance(name)
        for variant in endpoint.variants
        for name in variant.instances
        if name in seen and _is_useless(seen[name], variant, now, delay_max_s)
    ]


def _is_useless(instance: Instance, variant: Variant, now: float, delay_max_s: float) -> bool:
    if instance.process is not Process.RUNNING:
        return False
    match instance.ping:
        case Ping.FAILED:
            return now - instance.started_at >= delay_max_s  # no faster than one that dies
        case Ping.SILENT:
            return instance.silent_for_s >= SILENT_MAX_S
        case _:
            return _is_late(instance, variant, now)


def _delete(endpoint: Endpoint, here: list[Instance]) -> list[Action]:
    if len(here) == len(endpoint.instances) and not _stops(here):
        return [Forget(endpoint.name)]
    return _stops(here)
