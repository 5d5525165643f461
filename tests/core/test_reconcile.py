"""What to do so that the endpoints that run become the endpoints that are wanted."""

from __future__ import annotations

from modelplex.core.reconcile import (
    Action,
    Endpoint,
    Ends,
    Forget,
    Instance,
    Ping,
    Process,
    SetStatus,
    StartInstance,
    StopInstance,
    Variant,
    plan,
)

NOW = 1000.0


def endpoint(status: str) -> Endpoint:
    return Endpoint("e", status, (Variant("v", ("a",), 240.0), Variant("w", ("b",), 240.0)))


def up(name: str, ping: Ping = Ping.HEALTHY, **more: object) -> Instance:
    return Instance(name, Process.RUNNING, ping, **{"started_at": NOW - 1, **more})  # type: ignore[arg-type]


def absent(name: str) -> Instance:
    return Instance(name, Process.ABSENT)


def died(name: str, count: int) -> Instance:
    return Instance(name, Process.EXITED, ends=Ends(count, NOW - 0.1, "killed by SIGKILL"))


def planned(status: str, *observed: Instance, now: float = NOW) -> list[Action]:
    return plan([endpoint(status)], observed, now)


def test_a_new_endpoint_starts_its_instances() -> None:
    """What is absent and wanted is started."""
    assert planned("Creating", absent("a"), absent("b")) == [StartInstance("a"), StartInstance("b")]


def test_it_is_in_service_when_all_are_healthy_and_not_before() -> None:
    """One instance that starts still keeps the status at Creating."""
    assert planned("Creating", up("a"), up("b", Ping.STARTING)) == []
    assert planned("Creating", up("a")) == []
    assert planned("Creating", up("a"), up("b")) == [SetStatus("e", "InService")]


def test_an_instance_that_gives_up_fails_the_creation() -> None:
    """Its reason becomes the endpoint's."""
    [failed] = planned("Creating", up("a"), up("b", Ping.FAILED, reason="No module named x"))
    assert failed == SetStatus(
        "e", "Failed", "Variant w, instance b could not start: No module named x"
    )


def test_an_instance_that_keeps_dying_fails_the_creation() -> None:
    """The third death during start-up is the last."""
    assert planned("Creating", up("a"), died("b", 2), now=NOW + 1) == [StartInstance("b")]
    [failed] = planned("Creating", up("a"), died("b", 3))
    assert failed == SetStatus(
        "e",
        "Failed",
        "Variant w, instance b died 3 times during its start: killed by SIGKILL",
    )


def test_an_instance_that_cannot_start_fails_the_creation_at_once() -> None:
    """Trying again would not help; in service it is tried again and again."""
    hopeless = Instance("b", Process.ABSENT, ends=Ends(1, NOW, "no image", for_good=True))
    [failed] = planned("Creating", up("a"), hopeless)
    assert failed == SetStatus("e", "Failed", "Variant w, instance b could not start: no image")
    assert planned("InService", up("a"), hopeless) == [StartInstance("b")]


def test_an_instance_that_never_pings_fails_the_creation() -> None:
    """The time is the variant's own, counted from the process's start."""
    slow = up("b", Ping.STARTING, started_at=NOW - 239)
    assert planned("Creating", up("a"), slow) == []
    [failed] = planned("Creating", up("a"), slow, now=NOW + 1)
    assert failed == SetStatus(
        "e",
        "Failed",
        "Variant w, instance b did not pass the ping health check within 240 seconds.",
    )


def test_an_endpoint_in_service_stays_so_while_an_instance_is_replaced() -> None:
    """A first death is answered at once, and is no change of status."""
    assert planned("InService", up("a"), died("b", 1)) == [StartInstance("b")]


def test_an_instance_that_keeps_dying_is_restarted_ever_later() -> None:
    """The pause doubles up to the limit, and nobody is given up on once in service."""
    assert planned("InService", up("a"), died("b", 2)) == []
    assert [Ends(count).restart_at(10.0) for count in (0, 1, 2, 3, 6, 7, 999)] == [
        0.0,
        0.0,
        0.5,
        1.0,
        8.0,
        10.0,
        10.0,
    ]
    assert planned("InService", up("a"), died("b", 999), now=NOW + 10) == [StartInstance("b")]


def test_a_steady_instance_is_forgiven() -> None:
    """Ends count only as long as none of the lives between them was a long one."""
    twice = Ends().another(0.0, 1.0, "x").another(2.0, 3.0, "y")
    assert twice == Ends(2, 3.0, "y")
    assert twice.another(4.0, 64.0, "z") == Ends(1, 64.0, "z")


def test_a_useless_instance_is_stopped_to_be_started_again() -> None:
    """Silent for long, given up, or never healthy after its restart; each after some patience."""
    silent = up("b", Ping.SILENT, silent_for_s=29.0)
    assert planned("InService", up("a"), silent) == []
    for useless in (
        up("b", Ping.SILENT, silent_for_s=30.0),
        up("b", Ping.FAILED, started_at=NOW - 10),
        up("b", Ping.STARTING, started_at=NOW - 240),
    ):
        assert planned("InService", up("a"), useless) == [StopInstance("b")]


def test_a_failed_endpoint_runs_nothing() -> None:
    """What is left of it is stopped, and buried where it has ended by itself."""
    assert planned("Failed", up("a"), died("b", 3)) == [StopInstance("a"), StopInstance("b")]
    assert planned("Failed", absent("a"), absent("b")) == []


def test_a_deleted_endpoint_is_forgotten_when_nothing_of_it_runs() -> None:
    """Also not while something is still being done about one of its instances."""
    assert planned("Deleting", up("a"), absent("b")) == [StopInstance("a")]
    assert planned("Deleting", absent("b")) == []
    assert planned("Deleting", absent("a"), absent("b")) == [Forget("e")]


def test_instances_that_nobody_wants_are_stopped() -> None:
    """As after an endpoint was forgotten, or its record lost."""
    assert plan([], [up("x"), absent("y")], NOW) == [StopInstance("x")]


def test_an_instance_that_is_not_observed_is_left_alone() -> None:
    """Absence has to be seen; not to know is no reason to start anything twice."""
    assert planned("InService", up("a")) == []
