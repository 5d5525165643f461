"""The operations on endpoints, asked by boto3, and what endpoints keep."""

from __future__ import annotations

import asyncio
import shutil
from typing import Any

import pytest
from botocore.exceptions import ClientError, WaiterError

from tests.control.world import World, make_image, until, world

ARN = "arn:aws:sagemaker:us-west-2:123456789012:endpoint/"


async def test_an_endpoint_is_described_as_aws_does(w: World) -> None:
    """Variants with counts, weights and images; ARN in lower case; times."""
    await w.in_service("My-Endpoint", InitialInstanceCount=2, InitialVariantWeight=0.5)
    found = await w.sm("describe_endpoint", EndpointName="My-Endpoint")
    assert found["EndpointName"] == "My-Endpoint"
    assert found["EndpointArn"] == ARN + "my-endpoint"
    assert found["EndpointConfigName"] == "My-Endpoint-config"
    assert found["LastModifiedTime"] >= found["CreationTime"]
    assert "FailureReason" not in found
    (variant,) = found["ProductionVariants"]
    (image,) = variant.pop("DeployedImages")
    assert image["SpecifiedImage"] == "echo"
    assert image["ResolvedImage"] == "echo@sha256:" + "0" * 64
    assert image["ResolutionTime"] == found["CreationTime"]
    assert variant == {
        "VariantName": "AllTraffic",
        "CurrentWeight": 0.5,
        "DesiredWeight": 0.5,
        "CurrentInstanceCount": 2,
        "DesiredInstanceCount": 2,
    }


async def test_an_endpoint_that_is_being_created_says_so(w: World) -> None:
    """Nothing of it is current yet."""
    w.provider.prepare = lambda fake: setattr(fake, "ping", (503, {"status": "Starting"}))
    await w.endpoint()
    found = await w.sm("describe_endpoint", EndpointName="endpoint")
    assert found["EndpointStatus"] == "Creating"
    (variant,) = found["ProductionVariants"]
    assert (variant["CurrentInstanceCount"], variant["CurrentWeight"]) == (0, 0.0)
    assert (variant["DesiredInstanceCount"], variant["DesiredWeight"]) == (1, 1.0)
    assert variant["VariantStatus"][0]["Status"] == "Creating"


async def test_what_is_not_there_is_named(w: World) -> None:
    """In AWS's words, with the ARN that it would have."""
    for operation in ("describe_endpoint", "delete_endpoint"):
        with pytest.raises(ClientError) as caught:
            await w.sm(operation, EndpointName="Nope")
        error = caught.value.response["Error"]
        assert error["Code"] == "ValidationException"
        assert error["Message"] == f'Could not find endpoint "{ARN}nope".'
    with pytest.raises(ClientError) as caught:
        await w.sm("create_endpoint", EndpointName="e", EndpointConfigName="Nope")
    config = ARN.replace("endpoint/", "endpoint-config/nope")
    message = f'Could not find endpoint configuration "{config}".'
    assert caught.value.response["Error"]["Message"] == message


async def test_a_name_is_taken_until_the_endpoint_is_gone(w: World) -> None:
    """While it is created, in service or being deleted, and in any case of letters."""
    await w.in_service("one")
    members = {"EndpointName": "ONE", "EndpointConfigName": "one-config"}
    with pytest.raises(ClientError) as caught:
        await w.sm("create_endpoint", **members)
    message = f'Cannot create already existing endpoint "{ARN}one".'
    assert caught.value.response["Error"]["Message"] == message
    w.provider.may_stop.clear()
    for _ in range(2):  # deleting twice changes nothing
        await w.sm("delete_endpoint", EndpointName="one")
        found = await w.sm("describe_endpoint", EndpointName="one")
        assert found["EndpointStatus"] == "Deleting"
        assert found["ProductionVariants"][0]["DesiredInstanceCount"] == 0
    with pytest.raises(ClientError, match="Cannot create already existing endpoint"):
        await w.sm("create_endpoint", **members)
    w.provider.may_stop.set()
    await gone(w, "one")
    await w.sm("create_endpoint", **members)
    assert (await w.until("ONE", "InService"))["EndpointArn"] == ARN + "one"


async def exists(w: World, name: str) -> bool:
    return bool((await w.sm("list_endpoints", NameContains=name))["Endpoints"])


async def gone(w: World, name: str) -> None:
    async with asyncio.timeout(30):
        while await exists(w, name):  # noqa: ASYNC110 - asked of the API, as users do
            await asyncio.sleep(0.02)


async def test_a_deleted_endpoint_leaves_nothing(w: World) -> None:
    """Every instance is stopped and forgotten, tags go, and a new one has other instances."""
    await w.in_service("e", InitialInstanceCount=2)
    first = set(w.provider.processes)
    await w.sm("delete_endpoint", EndpointName="e")
    await gone(w, "e")
    assert (w.provider.processes, set(w.provider.forgotten)) == ({}, first)
    await w.sm("create_endpoint", EndpointName="e", EndpointConfigName="e-config")
    await w.until("e", "InService")
    assert first.isdisjoint(w.provider.processes)


async def test_an_endpoint_may_be_deleted_while_it_is_created(w: World) -> None:
    """AWS makes people wait for the failure; there is no reason to."""
    w.provider.prepare = lambda fake: setattr(fake, "ping", (503, {"status": "Starting"}))
    await w.endpoint("e")
    await w.sm("delete_endpoint", EndpointName="e")
    await gone(w, "e")
    assert w.provider.processes == {}


async def test_an_endpoint_outlives_its_configuration_model_and_images_name(w: World) -> None:
    """It keeps copies: replaced instances are as the first ones, across a restart too."""
    await w.in_service("e", InitialInstanceCount=1)
    await w.sm("delete_endpoint_config", EndpointConfigName="e-config")
    await w.sm("delete_model", ModelName="e-model")
    make_image(w.data, "echo", "1" * 64)  # the name now stands for another image
    await w.stop_control()
    (instance,) = w.provider.processes
    spec = w.provider.fakes[instance].spec
    await w.provider.kill(instance)
    w.start_control()
    await until(lambda: instance in w.provider.fakes)
    assert w.provider.fakes[instance].spec == spec
    assert "0" * 64 in spec["image"]["folder"]
    found = await w.sm("describe_endpoint", EndpointName="e")
    assert found["EndpointConfigName"] == "e-config"


async def test_more_instances_than_the_platform_allows_are_refused() -> None:
    """With the account's limit, the use and the wish, as AWS says it; deleted ones do not count."""
    async with world(instances_max=3) as w:
        await w.in_service("two", InitialInstanceCount=2)
        await w.model("m")
        await w.config("c", "m", InitialInstanceCount=2)
        with pytest.raises(ClientError) as caught:
            await w.sm("create_endpoint", EndpointName="e", EndpointConfigName="c")
        error = caught.value.response["Error"]
        assert error["Code"] == "ResourceLimitExceeded"
        assert error["Message"].startswith(
            "The account-level service limit 'ml.m5.large for endpoint usage' is 3 Instances, with "
            "current utilization of 2 Instances and a request delta of 2 Instances."
        )
        await w.sm("delete_endpoint", EndpointName="two")
        await w.sm("create_endpoint", EndpointName="e", EndpointConfigName="c")
        await w.until("e", "InService")


async def test_an_endpoint_that_does_not_fit_fails_with_its_reason() -> None:
    """As where AWS has no machines left; and nothing of it is started."""
    async with world(memory_mib=4 * 1024, instance_scale=1.0) as w:
        await w.endpoint("big", InstanceType="ml.m5.4xlarge")
        found = await w.until("big", "Failed")
        assert found["FailureReason"].startswith(
            "Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity"
        )
        assert "64.00 GiB" in found["FailureReason"]
        assert w.provider.starts == []
        waiter = w.client("sagemaker").get_waiter("endpoint_in_service")
        with pytest.raises(WaiterError):
            await asyncio.to_thread(waiter.wait, EndpointName="big")
        await w.sm("delete_endpoint", EndpointName="big")
        await gone(w, "big")


async def test_boto3s_waiters_return_when_it_is_true(w: World) -> None:
    """Their question is held: a 30 second sleep between two would time this test out."""
    pings: list[Any] = []

    def starting(fake: Any) -> None:
        fake.ping = (503, {"status": "Starting"})
        pings.append(fake)

    w.provider.prepare = starting
    await w.endpoint("e")
    client = w.client("sagemaker")
    waits = asyncio.create_task(
        asyncio.to_thread(client.get_waiter("endpoint_in_service").wait, EndpointName="e")
    )
    await until(lambda: pings)
    assert (await w.sm("describe_endpoint", EndpointName="e"))["EndpointStatus"] == "Creating"
    assert not waits.done()
    pings[0].ping = (200, {"status": "Healthy"})
    async with asyncio.timeout(25):
        await waits
        await w.sm("delete_endpoint", EndpointName="e")
        waiter = client.get_waiter("endpoint_deleted")
        await asyncio.to_thread(waiter.wait, EndpointName="e")
    assert not await exists(w, "e")


async def test_after_a_restart_waiters_wait_for_an_instance(w: World) -> None:
    """The endpoint is in service all along; a waiter is told so when one can answer again."""
    await w.in_service("e")
    await w.stop_control()
    (instance,) = w.provider.processes
    await w.provider.kill(instance)
    fakes: list[Any] = []

    def starting(fake: Any) -> None:
        fake.ping = (503, {"status": "Starting"})
        fakes.append(fake)

    w.provider.prepare = starting
    w.start_control()
    await until(lambda: fakes)
    found = await w.sm("describe_endpoint", EndpointName="e")
    assert found["EndpointStatus"] == "InService"
    assert found["ProductionVariants"][0]["CurrentInstanceCount"] == 0
    waiter = w.client("sagemaker").get_waiter("endpoint_in_service")
    waits = asyncio.create_task(asyncio.to_thread(waiter.wait, EndpointName="e"))
    await asyncio.wait([waits], timeout=0.5)
    assert not waits.done()
    fakes[0].ping = (200, {"status": "Healthy"})
    async with asyncio.timeout(25):
        await waits
    found = await w.sm("describe_endpoint", EndpointName="e")
    assert found["ProductionVariants"][0]["CurrentInstanceCount"] == 1


async def test_an_image_that_vanished_fails_the_creation(w: World) -> None:
    """CreateEndpoint looks the image up; an instance whose image is gone says so."""
    await w.model("m")
    await w.config("c", "m")
    (w.data / "images" / "refs.json").write_text("{}")
    with pytest.raises(ClientError, match=r"ValidationException.*Requested image echo not found"):
        await w.sm("create_endpoint", EndpointName="e", EndpointConfigName="c")
    make_image(w.data, "other", "2" * 64)
    await w.model("m2", Image="other")
    await w.config("c2", "m2")
    w.provider.refuse = "not yet"
    await w.sm("create_endpoint", EndpointName="e", EndpointConfigName="c2")
    shutil.rmtree(w.data / "images" / ("2" * 64))
    w.provider.refuse = ""
    found = await w.until("e", "Failed")
    assert "other:latest" in found["FailureReason"]
    assert "no longer built" in found["FailureReason"]
