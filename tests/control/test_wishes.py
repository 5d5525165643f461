"""Rules and rollbacks, from the door to the instances."""

from __future__ import annotations

from typing import Any

from modelplex.control.records import Kind
from tests.control.world import Fake, World, until

DOOR = "/modelplex/endpoints/e/rules"
REFRESH = {"pattern": "*", "refresh": True}


def taken(fake: Fake) -> list[str]:
    """The patterns of the rules that an instance was told last."""
    return [each["pattern"] for each in (fake.rules or {}).get("rules", [])]


def serving(model: str, version: str, previous: str, loaded_at: float) -> dict[str, Any]:
    row = {"model": model, "version": version, "previous": previous, "loaded_at": loaded_at}
    return {**row, "standing": "serving"}


async def test_rules_reach_every_instance_and_every_new_process(w: World) -> None:
    """Now those that run, later those that did not answer, and others with their spec."""
    await w.in_service("e", InitialInstanceCount=2)
    first, second = w.provider.fakes.values()
    second.refuses_rules = True
    status, answer = await w.doors("PUT", DOOR, {"rules": [REFRESH]})
    assert (status, answer["pending"]) == (200, [second.spec["id"]])
    assert taken(first) == ["*"]
    second.refuses_rules = False
    await until(lambda: taken(second) == ["*"])
    await w.provider.kill(first.spec["id"])
    await until(lambda: len(w.provider.fakes) == 2)
    fresh = w.provider.fakes[first.spec["id"]]
    assert [each["pattern"] for each in fresh.spec["rules"]["rules"]] == ["*"]
    _, document = await w.doors("GET", DOOR)
    assert document["rules"][0]["refresh"] is True


async def test_rules_survive_control_and_go_with_their_endpoint(w: World) -> None:
    """A restarted control tells them again; a new endpoint of the name has none."""
    await w.in_service("e")
    await w.doors("PUT", DOOR, {"rules": [REFRESH]})
    (fake,) = w.provider.fakes.values()
    fake.rules = None
    await w.stop_control()
    w.start_control()
    await until(lambda: taken(fake) == ["*"])
    await w.sm("delete_endpoint", EndpointName="e")
    await until(lambda: w.records and w.records.get(Kind.ENDPOINT, "e") is None)
    status, answer = await w.doors("GET", DOOR)
    assert (status, answer["message"]) == (404, "There is no endpoint named 'e'.")


async def test_impossible_rules_change_nothing(w: World) -> None:
    """Whatever is wrong with them."""
    await w.in_service("e")
    status, answer = await w.doors("PUT", DOOR, {"rules": [{"pattern": "*", "weight": -1}]})
    assert status == 400
    assert "rules.1.member.weight" in answer["message"]
    assert (await w.doors("GET", DOOR))[1] == {"rules": [], "rejected": []}


async def test_a_rollback_rejects_the_version_that_came_last(w: World) -> None:
    """On all instances, whichever of them serve it yet; the model's name may have slashes."""
    await w.in_service("e", InitialInstanceCount=2)
    first, second = w.provider.fakes.values()
    first.models = [serving("a/m.tar.gz", "v2", "v1", 20.0)]
    second.models = [serving("a/m.tar.gz", "v1", "", 10.0)]
    path = "/modelplex/endpoints/e/models/a%2Fm.tar.gz/rollback"
    status, answer = await w.doors("POST", path)
    assert (status, answer["from"], answer["to"]) == (200, "v2", "v1")
    for fake in (first, second):
        assert fake.rules is not None
        assert fake.rules["rejected"] == [{"model": "a/m.tar.gz", "version": "v2"}]


async def test_there_must_be_a_version_to_go_back_to(w: World) -> None:
    """Else nothing is rejected, and the answer says what to do."""
    await w.in_service("e")
    (fake,) = w.provider.fakes.values()
    fake.models = [serving("m", "v1", "", 10.0)]
    status, answer = await w.doors("POST", "/modelplex/endpoints/e/models/m/rollback")
    assert status == 409
    assert "Upload the artifact that you want" in answer["message"]
    status, answer = await w.doors("POST", "/modelplex/endpoints/e/models/other/rollback")
    assert (status, fake.rules) == (404, None)
