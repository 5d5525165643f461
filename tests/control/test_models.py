"""The operations on models, asked by boto3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.control.world import ROLE, World, world

ARN = "arn:aws:sagemaker:us-west-2:123456789012:model/"
SOURCE = {"S3Uri": "s3://bkt/m.tar.gz", "S3DataType": "S3Object", "CompressionType": "Gzip"}


async def test_a_model_is_described_as_it_was_created(w: World) -> None:
    """All members come back, with the ARN in lower case and the time."""
    container = {
        "Image": "123456789012.dkr.ecr.us-west-2.amazonaws.com/echo:latest",
        "Mode": "MultiModel",
        "ModelDataUrl": "s3://bucket/prefix/",
        "ContainerHostname": "one",
        "Environment": {"A": "b"},
        "MultiModelConfig": {"ModelCacheSetting": "Disabled"},
    }
    vpc = {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]}
    made = await w.sm(
        "create_model",
        ModelName="My-Model",
        PrimaryContainer=container,
        ExecutionRoleArn=ROLE,
        VpcConfig=vpc,
        Tags=[{"Key": "k", "Value": "v"}],
    )
    assert made["ModelArn"] == ARN + "my-model"
    found = await w.sm("describe_model", ModelName="My-Model")
    assert found["PrimaryContainer"] == container
    assert (found["ModelName"], found["ModelArn"]) == ("My-Model", ARN + "my-model")
    assert (found["ExecutionRoleArn"], found["VpcConfig"]) == (ROLE, vpc)
    assert found["EnableNetworkIsolation"] is False
    assert "Tags" not in found
    tags = await w.sm("list_tags", ResourceArn=ARN + "my-model")
    assert tags["Tags"] == [{"Key": "k", "Value": "v"}]


async def test_containers_of_one_are_a_primary_container(w: World) -> None:
    """And are described as they were given."""
    container = {"Image": "echo", "ModelDataUrl": "s3://bkt/m.tar.gz"}
    await w.sm(
        "create_model",
        ModelName="m",
        Containers=[container],
        ExecutionRoleArn=ROLE,
        InferenceExecutionConfig={"Mode": "Serial"},
    )
    found = await w.sm("describe_model", ModelName="m")
    assert found["Containers"] == [container]
    assert "PrimaryContainer" not in found


async def test_a_deleted_model_is_gone_and_may_be_created_again(w: World) -> None:
    """Deleting it twice says that it is not there."""
    await w.model("m")
    await w.sm("delete_model", ModelName="m")
    for operation in ("describe_model", "delete_model"):
        with pytest.raises(ClientError) as caught:
            await w.sm(operation, ModelName="m")
        assert caught.value.response["Error"]["Code"] == "ValidationException"
        assert caught.value.response["Error"]["Message"] == f'Could not find model "{ARN}m".'
    await w.model("m")


async def test_a_name_is_taken_whatever_its_case(w: World) -> None:
    """As ARNs are in lower case."""
    await w.model("Model")
    with pytest.raises(ClientError) as caught:
        await w.model("mODEL")
    message = f'Cannot create already existing model "{ARN}model".'
    assert caught.value.response["Error"]["Message"] == message
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/prefix/",
        "https://s3-us-west-2.amazonaws.com/bucket/prefix/",
        "https://bucket.s3.us-west-2.amazonaws.com/prefix/",
    ],
)
async def test_every_way_to_write_an_s3_prefix_is_taken(w: World, url: str) -> None:
    """The notebook's way among them."""
    await w.model("m", ModelDataUrl=url)
    found = await w.sm("describe_model", ModelName="m")
    assert found["PrimaryContainer"]["ModelDataUrl"] == url


async def test_file_urls_are_taken_under_the_allowed_folders_only(tmp_path: Path) -> None:
    """And `..` leads nowhere else."""
    allowed = tmp_path / "models"
    allowed.mkdir()
    async with world(file_roots=(str(allowed),)) as w:
        await w.model("inside", ModelDataUrl=f"file://{allowed}/set/")
        for outside in (f"file://{tmp_path}/", f"file://{allowed}/../", "file:///etc/"):
            with pytest.raises(ClientError, match=r"ValidationException.*ModelDataUrl|file"):
                await w.model("outside", ModelDataUrl=outside)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"Image": "nowhere:1"}, "Requested image nowhere:1 not found."),
    ({"Image": "Bad Image"}, "1 validation error detected"),
    ({"Image": None}, "PrimaryContainer.Image is required."),
    ({"ModelDataUrl": None}, "ModelDataUrl is required when Mode is MultiModel."),
    ({"ModelDataUrl": "s3://bkt/one.tar.gz"}, "names one archive"),
    ({"ModelDataUrl": "ftp://b/"}, "1 validation error detected"),
    ({"ModelDataUrl": "https://example.com/b/"}, "ModelDataUrl"),
    ({"Mode": "SingleModel"}, "names a prefix"),
    ({"Mode": None, "ModelDataUrl": None}, "without ModelDataUrl is not supported by modelplex"),
    ({"Mode": "Many"}, "Member must satisfy enum value set: [SingleModel, MultiModel]"),
    (
        {"Mode": "SingleModel", "ModelDataUrl": "s3://bkt/m.tar.gz", "MultiModelConfig": {}},
        "MultiModelConfig is given, but Mode is not MultiModel.",
    ),
    ({"ModelDataSource": {"S3DataSource": SOURCE}}, "Both ModelDataUrl and ModelDataSource"),
    (
        {"ModelDataUrl": None, "ModelDataSource": {"S3DataSource": SOURCE}},
        "ModelDataSource cannot be used with Mode MultiModel.",
    ),
    (
        {
            "Mode": "SingleModel",
            "ModelDataUrl": None,
            "ModelDataSource": {
                "S3DataSource": {**SOURCE, "S3DataType": "S3Prefix", "CompressionType": "None"}
            },
        },
        "S3DataType S3Prefix and CompressionType None is not supported by modelplex yet.",
    ),
    ({"ModelPackageName": "package"}, "ModelPackageName is not supported by modelplex yet."),
    (
        {"ImageConfig": {"RepositoryAccessMode": "Vpc"}},
        "RepositoryAccessMode Vpc is not supported by modelplex yet.",
    ),
    (
        {"AdditionalModelDataSources": [{"ChannelName": "c", "S3DataSource": SOURCE}]},
        "AdditionalModelDataSources is not supported by modelplex yet.",
    ),
]


@pytest.mark.parametrize(("container", "message"), REFUSED)
async def test_a_container_that_cannot_be_is_refused(
    w: World, container: dict[str, Any], message: str
) -> None:
    """By name, with ValidationException, and nothing is created."""
    with pytest.raises(ClientError) as caught:
        await w.model("m", **container)
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert message in caught.value.response["Error"]["Message"]
    assert (await w.sm("list_models"))["Models"] == []


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "Either PrimaryContainer or Containers must be given."),
        ({"PrimaryContainer": {}, "Containers": [{}]}, "Both PrimaryContainer and Containers"),
        ({"Containers": [{}, {}]}, "Containers with 2 containers (an inference pipeline)"),
        ({"InferenceExecutionConfig": {"Mode": "Direct"}}, "InferenceExecutionConfig.Mode Direct"),
        (
            {"ExecutionRoleArn": "arn:aws:iam::1:user/nobody"},
            "'executionRoleArn' failed to satisfy",
        ),
        ({"Tags": [{"Key": "aws:x", "Value": ""}]}, "aws: prefixed tag key names"),
        ({"Tags": [{"Key": "x", "Value": ""}] * 2}, "Duplicate tag key 'x'"),
    ],
)
async def test_a_model_that_cannot_be_is_refused(
    w: World, members: dict[str, Any], message: str
) -> None:
    """Whatever is wrong around the container."""
    if "Tags" in members:
        members = {
            "PrimaryContainer": {"Image": "echo", "ModelDataUrl": "s3://bkt/m.tgz"},
            **members,
        }
    with pytest.raises(ClientError) as caught:
        await w.sm("create_model", ModelName="m", **members)
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert message in caught.value.response["Error"]["Message"]
    assert (await w.sm("list_models"))["Models"] == []


async def test_only_an_engine_can_isolate(w: World) -> None:
    """What runs as a process of this machine cannot be kept from the network."""
    container = {"Image": "echo", "ModelDataUrl": "s3://bkt/m.tar.gz"}
    members = {"PrimaryContainer": container, "ExecutionRoleArn": ROLE}
    with pytest.raises(ClientError, match="EnableNetworkIsolation is not supported for echo"):
        await w.sm("create_model", ModelName="m", EnableNetworkIsolation=True, **members)
    await w.sm("create_model", ModelName="m", EnableNetworkIsolation=False, **members)


async def test_a_built_in_image_need_not_be_built(w: World) -> None:
    """Under its own name and under that of AWS's image; what is wrong is said at once."""
    await w.model("m", Image="modelplex/python")
    host = "683313688378.dkr.ecr.us-east-1.amazonaws.com"
    await w.model("n", Image=f"{host}/sagemaker-scikit-learn:1.2-1-cpu-py3")
    with pytest.raises(ClientError, match=r"modelplex/no not found\. The built-in"):
        await w.model("o", Image="modelplex/no")
