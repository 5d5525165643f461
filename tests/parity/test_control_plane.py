"""Every operation of the control plane through real boto3 and real processes.

What each operation does in detail is tested in tests/control; here, that it does it behind the one
port, with signatures, and that answers and errors are those that botocore's model promises.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, WaiterError

from modelplex.aws import shapes
from tests.support.answers import check_answer
from tests.support.models import make_archive
from tests.support.platform import ROLE, Platform

pytestmark = pytest.mark.e2e

ARN = "arn:aws:sagemaker:us-west-2:123456789012:"
SEEN: set[str] = set()


def note(http_response: Any, model: Any, **_: Any) -> None:
    """Check a successful answer against the service's model, and remember the operation."""
    if http_response.status_code == 200:
        SEEN.add(model.name)
        document = json.loads(http_response.content or b"{}")
        check_answer(shapes.load("sagemaker"), model.name, document)


@pytest.fixture(scope="module")
def sagemaker(platform: Platform) -> Any:
    client = platform.client("sagemaker")
    client.meta.events.register("after-call.sagemaker", note)
    return client


@pytest.fixture(scope="module")
def made(platform: Platform, sagemaker: Any) -> Iterator[str]:
    """A model, a configuration and an endpoint of one name, in service; deleted at the end."""
    name = "Parity-One"
    platform.client("s3").create_bucket(
        Bucket="parity", CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
    )
    container = {"Image": "echo", "Mode": "MultiModel", "ModelDataUrl": "s3://parity/models/"}
    model = sagemaker.create_model(
        ModelName=name,
        ExecutionRoleArn=ROLE,
        Containers=[container],
        Tags=[{"Key": "team", "Value": "a"}],
    )
    assert model["ModelArn"] == f"{ARN}model/parity-one"
    config = sagemaker.create_endpoint_config(
        EndpointConfigName=name, ProductionVariants=[variant("AllTraffic", name)]
    )
    assert config["EndpointConfigArn"] == f"{ARN}endpoint-config/parity-one"
    endpoint = sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    assert endpoint["EndpointArn"] == f"{ARN}endpoint/parity-one"
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name)
    yield name
    sagemaker.delete_endpoint(EndpointName=name)
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=name)
    sagemaker.delete_endpoint_config(EndpointConfigName=name)
    sagemaker.delete_model(ModelName=name)


def variant(name: str, model: str, **more: Any) -> dict[str, Any]:
    usual = {"InstanceType": "ml.t2.medium", "InitialInstanceCount": 1}
    return {"VariantName": name, "ModelName": model, **usual, **more}


def refused(call: Any, **members: Any) -> str:
    """The message of a call that must be refused as the service refuses: ValidationException."""
    with pytest.raises(ClientError) as caught:
        call(**members)
    error = caught.value.response
    assert error["Error"]["Code"] == "ValidationException"
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 400
    return str(error["Error"]["Message"])


def test_describe(sagemaker: Any, made: str) -> None:
    """What was created is described in the service's members."""
    model = sagemaker.describe_model(ModelName=made)
    assert model["Containers"][0]["Mode"] == "MultiModel"
    config = sagemaker.describe_endpoint_config(EndpointConfigName=made)
    assert config["ProductionVariants"][0]["InitialVariantWeight"] == 1.0
    endpoint = sagemaker.describe_endpoint(EndpointName=made)
    assert endpoint["EndpointStatus"] == "InService"
    assert endpoint["ProductionVariants"][0]["CurrentInstanceCount"] == 1
    assert endpoint["CreationTime"] <= endpoint["LastModifiedTime"]


def test_lists(sagemaker: Any, made: str) -> None:
    """Filtered, sorted and paged."""
    asked = {"NameContains": "parity-o", "SortBy": "Name", "MaxResults": 1}
    assert sagemaker.list_models(**asked)["Models"][0]["ModelName"] == made
    configs = sagemaker.list_endpoint_configs(**asked)["EndpointConfigs"]
    assert configs[0]["EndpointConfigName"] == made
    endpoints = sagemaker.list_endpoints(**asked, StatusEquals="InService")["Endpoints"]
    assert endpoints[0]["EndpointName"] == made
    assert not sagemaker.list_endpoints(StatusEquals="Failed", NameContains=made)["Endpoints"]
    pages = sagemaker.get_paginator("list_models").paginate(PaginationConfig={"PageSize": 1})
    names = [model["ModelName"] for page in pages for model in page["Models"]]
    assert len(names) == len(set(names))
    assert made in names
    assert "token" in refused(sagemaker.list_models, NextToken="made up").lower()


def test_tags(sagemaker: Any, made: str) -> None:
    """Added, listed and deleted."""
    arn = f"{ARN}model/parity-one"
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "env", "Value": "test"}])
    tags = {tag["Key"]: tag["Value"] for tag in sagemaker.list_tags(ResourceArn=arn)["Tags"]}
    assert tags == {"team": "a", "env": "test"}
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["env"])
    assert len(sagemaker.list_tags(ResourceArn=arn)["Tags"]) == 1
    assert "nobody" in refused(sagemaker.list_tags, ResourceArn=f"{ARN}model/nobody")


def test_what_is_taken_cannot_be_created_again(sagemaker: Any, made: str) -> None:
    """The message gives the ARN that exists."""
    container = {"Image": "echo", "ModelDataUrl": "s3://parity/m.tar.gz"}
    role = {"ExecutionRoleArn": ROLE}
    calls = {
        "model": (
            sagemaker.create_model,
            {"ModelName": made, "PrimaryContainer": container, **role},
        ),
        "endpoint-config": (
            sagemaker.create_endpoint_config,
            {"EndpointConfigName": made, "ProductionVariants": [variant("V", made)]},
        ),
        "endpoint": (
            sagemaker.create_endpoint,
            {"EndpointName": made, "EndpointConfigName": made},
        ),
    }
    for kind, (call, members) in calls.items():
        message = refused(call, **members)
        assert message.startswith("Cannot create already existing"), message
        assert f"{ARN}{kind}/parity-one" in message


def test_what_is_not_there_is_not_found(sagemaker: Any) -> None:
    """Describe and delete of all three kinds, and what a creation refers to."""
    for kind, key in [
        ("model", "ModelName"),
        ("endpoint_config", "EndpointConfigName"),
        ("endpoint", "EndpointName"),
    ]:
        for verb in ("describe", "delete"):
            message = refused(getattr(sagemaker, f"{verb}_{kind}"), **{key: "nobody"})
            assert message.startswith("Could not find"), message
            assert "nobody" in message
    config = {"EndpointConfigName": "c", "ProductionVariants": [variant("V", "nobody")]}
    assert "Could not find model" in refused(sagemaker.create_endpoint_config, **config)
    endpoint = {"EndpointName": "e", "EndpointConfigName": "nobody"}
    assert "Could not find endpoint configuration" in refused(sagemaker.create_endpoint, **endpoint)


def test_the_service_checks_what_the_client_does_not(sagemaker: Any) -> None:
    """Patterns, enums and maxima, in the service's wording; a missing image by name."""
    container = {"Image": "echo", "ModelDataUrl": "s3://parity/m.tar.gz", "Mode": "Dual"}
    model = {"ModelName": "bad name!", "PrimaryContainer": container, "ExecutionRoleArn": ROLE}
    message = refused(sagemaker.create_model, **model)
    assert message.startswith("2 validation errors detected: ")
    assert "Value 'bad name!' at 'modelName' failed to satisfy constraint" in message
    assert "Member must satisfy enum value set: " in message
    missing = {**container, "Mode": "SingleModel", "Image": "nobody:v9"}
    model = {"ModelName": "m", "PrimaryContainer": missing, "ExecutionRoleArn": ROLE}
    assert "nobody:v9" in refused(sagemaker.create_model, **model)


def test_an_endpoint_that_does_not_fit_fails_with_a_reason(sagemaker: Any, made: str) -> None:
    """A truth that the waiter reports: Failed, and why."""
    big = variant("V", made, InstanceType="ml.r5.24xlarge", InitialInstanceCount=2)
    sagemaker.create_endpoint_config(EndpointConfigName="big", ProductionVariants=[big])
    sagemaker.create_endpoint(EndpointName="big", EndpointConfigName="big")
    with pytest.raises(WaiterError, match="Failed"):
        sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="big")
    assert "apacity" in sagemaker.describe_endpoint(EndpointName="big")["FailureReason"]
    sagemaker.delete_endpoint(EndpointName="big")
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName="big")
    sagemaker.delete_endpoint_config(EndpointConfigName="big")


def test_logs_of_a_handler_are_found(platform: Platform) -> None:
    """What a handler prints is in CloudWatch Logs, under the endpoint's group."""
    archive = make_archive({"weights.txt": "w"})
    deployed = platform.deploy({"m.tar.gz": archive}, image="echo")
    deployed.invoke("m.tar.gz")
    logs, group = platform.client("logs"), f"/aws/sagemaker/Endpoints/{deployed.name}"
    groups = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    assert [found["logGroupName"] for found in groups] == [group]
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group)
    events = [event for page in pages for event in page["events"]]
    said = next(event for event in events if event["message"] == "answering 1")
    assert said["logStreamName"].endswith("/m.tar.gz")
    streams = logs.describe_log_streams(logGroupName=group)["logStreams"]
    assert said["logStreamName"] in {stream["logStreamName"] for stream in streams}
    stream = {"logGroupName": group, "logStreamName": said["logStreamName"]}
    events = logs.get_log_events(**stream, startFromHead=True)["events"]
    assert [event["message"] for event in events] == ["answering 1"]
    deployed.delete()


def test_every_operation_has_been_answered_here() -> None:
    """Whatever the slice serves has had a successful answer in this file (runs last)."""
    missing = set(shapes.load("sagemaker").operations) - SEEN
    assert missing <= {"DeleteModel"}, missing  # made's own clean-up comes after this
