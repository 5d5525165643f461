"""Promises become true, stay true, and say so when they cannot."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.control.world import Fake, World, until, world


def endpoints(w: World) -> dict[str, Any]:
    """The endpoints of the newest snapshot."""
    return w.control.snapshots.endpoints or {}


def instances(w: World, name: str = "e") -> list[dict[str, Any]]:
    variants = endpoints(w).get(name, {"variants": []})["variants"]
    return [each for variant in variants for each in variant["instances"]]


@asynccontextmanager
async def followed(w: World) -> AsyncIterator[list[dict[str, Any]]]:
    """Everything that the stream of snapshots says meanwhile."""
    lines: list[dict[str, Any]] = []

    async def follow() -> None:
        async for line in w.control.snapshots.follow():
            lines.append(json.loads(line))  # noqa: PERF401 - it never ends

    following = asyncio.create_task(follow())
    yield lines
    following.cancel()


async def test_an_instance_is_told_everything_it_needs(w: World) -> None:
    """Its document is the one of internal-api.md; the image's environment under the model's."""
    await w.model("m", Environment={"BOTH": "model", "MINE": "1"})
    await w.config(
        "c",
        "m",
        ModelDataDownloadTimeoutInSeconds=77,
        ContainerStartupHealthCheckTimeoutInSeconds=88,
    )
    await w.sm("create_endpoint", EndpointName="E", EndpointConfigName="c")
    await w.until("E", "InService")
    ((name, fake),) = w.provider.fakes.items()
    spec = fake.spec
    assert spec["id"] == name
    assert len(name) == len("i-0123456789abcdef0")
    assert (spec["endpoint"], spec["variant"], spec["mode"]) == ("E", "AllTraffic", "MultiModel")
    assert (spec["model_data_url"], spec["cache"]) == ("s3://bucket/prefix/", "Enabled")
    assert spec["environment"] == {"FROM_IMAGE": "image", "BOTH": "model", "MINE": "1"}
    assert spec["log_group"] == "/aws/sagemaker/Endpoints/E"
    assert spec["log_stream"] == f"AllTraffic/{name}"
    assert spec["log_folder"] == str(w.data / "logs/aws/sagemaker/Endpoints/E")
    assert spec["s3"]["endpoint"] == "http://127.0.0.1:9"
    assert spec["limits"]["model_load_timeout_s"] == 77
    assert (spec["memory_bytes"], spec["vcpus"]) == (8 * 2**30, 2.0)
    assert "secret" not in json.dumps(spec["limits"])


async def test_single_model_endpoints_and_external_stores_reach_the_instance() -> None:
    """The archive's own URL, and the other store's keys."""
    async with world(
        s3_endpoint="http://s3.example:9000", s3_access_key="KEY", s3_secret_key="SECRET123"
    ) as w:
        await w.model("m", Mode="SingleModel", ModelDataUrl="s3://bucket/m.tar.gz")
        await w.config("c", "m")
        await w.sm("create_endpoint", EndpointName="e", EndpointConfigName="c")
        await w.until("e", "InService")
        (fake,) = w.provider.fakes.values()
        assert fake.spec["mode"] == "SingleModel"
        assert fake.spec["model_data_url"] == "s3://bucket/m.tar.gz"
        assert fake.spec["s3"] == {
            "endpoint": "http://s3.example:9000",
            "region": "us-west-2",
            "access_key": "KEY",
            "secret_key": "SECRET123",
        }
        assert endpoints(w)["e"]["variants"][0]["multi_model"] is False


async def test_gateways_know_of_an_endpoint_before_anyone_is_told_that_it_is_in_service(
    w: World,
) -> None:
    """So that "InService" in one answer means "invokable" in the next request."""
    async with followed(w) as lines:
        await w.in_service("e")
        assert endpoints(w)["e"]["status"] == "InService"
        assert [each["healthy"] for each in instances(w)] == [True]
        await until(lambda: lines[-1]["endpoints"].get("e", {}).get("status") == "InService")
    versions = [line["version"] for line in lines]
    assert versions == sorted(set(versions))


async def test_no_stream_outlives_control(w: World) -> None:
    """The streams of snapshots end as soon as they are told to, and nobody waits for their end."""
    await w.in_service("e")
    stream = w.control.snapshots.follow()
    assert json.loads(await anext(stream))["endpoints"]["e"]["status"] == "InService"
    following = asyncio.ensure_future(anext(stream, None))
    await asyncio.sleep(0)
    assert not following.done()
    w.control.snapshots.end()
    async with asyncio.timeout(10):  # a heartbeat comes after 20 s
        assert await following is None


async def test_a_dead_instance_is_replaced_under_its_own_id(w: World) -> None:
    """The endpoint stays in service; the gateways see the gap."""
    await w.in_service("e", InitialInstanceCount=2)
    victim = instances(w)[0]["id"]
    async with followed(w) as lines:
        await w.provider.kill(victim)
        await until(lambda: len(lines) >= 3)
    shown = [line["endpoints"]["e"] for line in lines[:3]]
    assert {each["status"] for each in shown} == {"InService"}
    healthy = [[i["healthy"] for i in each["variants"][0]["instances"]] for each in shown]
    assert healthy == [[True, True], [False, True], [True, True]]
    assert victim in w.provider.fakes
    assert w.provider.starts.count(victim) == 2


async def test_an_instance_that_hangs_is_out_of_the_routing(w: World) -> None:
    """Until it answers again."""
    await w.in_service("e")
    (fake,) = w.provider.fakes.values()
    fake.silent = True
    await until(lambda: not instances(w)[0]["healthy"])
    found = await w.sm("describe_endpoint", EndpointName="e")
    assert found["EndpointStatus"] == "InService"
    assert found["ProductionVariants"][0]["CurrentInstanceCount"] == 0
    fake.silent = False
    await until(lambda: instances(w)[0]["healthy"])


async def test_an_instance_that_gives_up_in_service_is_out_of_the_routing(w: World) -> None:
    """For good, while it still answers."""
    await w.in_service("e")
    (fake,) = w.provider.fakes.values()
    fake.ping = (503, {"status": "Failed", "reason": "its zygote ends again and again"})
    await until(lambda: not instances(w)[0]["healthy"])
    fake.ping = (200, {"status": "Healthy"})
    found = await w.sm("describe_endpoint", EndpointName="e")
    assert found["ProductionVariants"][0]["CurrentInstanceCount"] == 0


async def test_an_instance_that_gives_up_fails_its_endpoint_with_the_reason(w: World) -> None:
    """And its instances are stopped."""
    answer = (503, {"status": "Failed", "reason": "No module named 'nothing'"})
    w.provider.prepare = lambda fake: setattr(fake, "ping", answer)
    await w.endpoint("e")
    found = await w.until("e", "Failed")
    assert "No module named 'nothing'" in found["FailureReason"]
    assert found["ProductionVariants"][0]["DesiredInstanceCount"] == 0
    await until(lambda: not w.provider.processes)


@pytest.mark.parametrize("way", ["dies", "refuse"])
async def test_an_instance_that_cannot_start_fails_its_endpoint_after_some_tries(
    w: World, way: str
) -> None:
    """Whether it dies of itself or the provider cannot start it; the last reason is told."""
    setattr(w.provider, way, "killed by SIGSEGV")
    await w.endpoint("e")
    found = await w.until("e", "Failed")
    assert "killed by SIGSEGV" in found["FailureReason"]
    assert len(w.provider.starts) >= 3
    await until(lambda: not w.provider.processes)


async def test_an_instance_that_never_gets_healthy_fails_its_endpoint() -> None:
    """With SageMaker's words, after the time that it is given."""
    async with world(startup_timeout_s=0.2) as w:
        w.provider.prepare = lambda fake: setattr(fake, "ping", (503, {"status": "Starting"}))
        await w.endpoint("e")
        found = await w.until("e", "Failed")
        assert "did not pass the ping health check" in found["FailureReason"]


async def test_a_restarted_control_finds_everything_as_it_is(w: World) -> None:
    """Nothing is started or stopped for it, and the endpoint answers as before."""
    await w.in_service("e", InitialInstanceCount=2)
    before, starts = dict(w.provider.processes), len(w.provider.starts)
    await w.stop_control()
    w.start_control()
    await until(lambda: [each["healthy"] for each in instances(w)] == [True, True])
    assert w.provider.processes == before
    assert len(w.provider.starts) == starts
    found = await w.sm("describe_endpoint", EndpointName="e")
    assert found["EndpointStatus"] == "InService"


async def test_a_restarted_control_goes_on_where_it_was(w: World) -> None:
    """With a creation, with a deletion, and with instances that nobody wants any more."""
    w.provider.refuse = "the supervisor is busy"
    await w.endpoint("new")
    w.provider.refuse = ""
    await w.in_service("old")
    await w.stop_control()
    assert w.records is not None
    w.start_control()
    await w.until("new", "InService")
    stranger = "i-" + "f" * 17
    await w.provider.start({"id": stranger, "socket": str(w.data / "run" / "stranger.sock")})
    await until(lambda: stranger not in w.provider.processes)
    await w.sm("delete_endpoint", EndpointName="old")
    await w.stop_control()
    w.start_control()
    await until(lambda: "old" not in endpoints(w))
    assert len(w.provider.processes) == 1


async def test_the_platforms_other_processes_are_left_alone(w: World) -> None:
    """The supervisor tells of them too."""
    await w.provider.start({"id": "gateway", "socket": str(w.data / "run" / "g.sock")})
    await w.in_service("e")
    assert "gateway" in w.provider.processes
    assert isinstance(w.provider.fakes["gateway"], Fake)
