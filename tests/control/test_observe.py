"""The doors under /modelplex/."""

from __future__ import annotations

from tests.control.world import World


async def test_models_and_instances_are_asked_of_the_instances(w: World) -> None:
    """With the instance and the variant that each row is of."""
    await w.in_service("e", InitialInstanceCount=2)
    first, second = w.provider.fakes.values()
    first.models = [{"model": "a.tar.gz", "state": "LOADED"}]
    second.models = [{"model": "b.tar.gz", "state": "ON_DISK"}]
    status, answer = await w.doors("GET", "/modelplex/endpoints/e/models")
    assert status == 200
    assert {(row["model"], row["instance"]) for row in answer["models"]} == {
        ("a.tar.gz", first.spec["id"]),
        ("b.tar.gz", second.spec["id"]),
    }
    assert {row["variant"] for row in answer["models"]} == {"AllTraffic"}
    _, answer = await w.doors("GET", "/modelplex/endpoints/e/instances")
    rows = answer["instances"]
    assert {row["id"] for row in rows} == {first.spec["id"], second.spec["id"]}
    assert {(row["health"], row["status"], row["pid"]) for row in rows} == {
        ("Healthy", "Healthy", 1)
    }
    assert "models" not in rows[0]


async def test_events_are_merged_by_time_and_paged_by_token(w: World) -> None:
    """The token stands for a place in every instance."""
    await w.in_service("e", InitialInstanceCount=2)
    first, second = w.provider.fakes.values()
    first.events = [{"n": 1, "at": 10.0, "event": "loaded"}, {"n": 2, "at": 30.0, "event": "x"}]
    second.events = [{"n": 1, "at": 20.0, "event": "loaded"}]
    _, answer = await w.doors("GET", "/modelplex/endpoints/e/events")
    assert [event["at"] for event in answer["events"]] == [10.0, 20.0, 30.0]
    assert answer["events"][1]["instance"] == second.spec["id"]
    second.events.append({"n": 2, "at": 40.0, "event": "unloaded"})
    _, answer = await w.doors("GET", f"/modelplex/endpoints/e/events?after={answer['next']}")
    assert [event["at"] for event in answer["events"]] == [40.0]
    first.events = [{"n": 1, "at": 50.0, "event": "loaded"}]  # another process, counting anew
    _, answer = await w.doors("GET", f"/modelplex/endpoints/e/events?after={answer['next']}")
    assert [event["at"] for event in answer["events"]] == [50.0]
    status, _ = await w.doors("GET", "/modelplex/endpoints/e/events?after=nonsense")
    assert status == 400


async def test_the_status_tells_all_but_secrets(w: World) -> None:
    """Version, settings, processes, and how instances are sized."""
    await w.in_service("e")
    _, answer = await w.doors("GET", "/modelplex/status")
    assert answer["version"]
    assert answer["settings"]["region"] == "us-west-2"
    assert not [name for name in answer["settings"] if "key" in name]
    (process,) = answer["processes"].values()
    assert process["running"] is True
    assert answer["sizing"]["instances"] == 1
    assert answer["sizing"]["memory_bytes_used"] == 8 * 2**30
    assert "ml.m5.xlarge" in answer["sizing"]["rule"]


async def test_what_is_not_there_is_said(w: World) -> None:
    """With a message."""
    for path in ("/modelplex/endpoints/nope/models", "/modelplex/nothing", "/modelplex/"):
        status, answer = await w.doors("GET", path)
        assert status == 404
        assert answer["message"]
