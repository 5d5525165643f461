"""The operations on endpoint configurations, asked by boto3."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.control.world import ROLE, World

ARN = "arn:aws:sagemaker:us-west-2:123456789012:endpoint-config/"
CAPTURE = {
    "EnableCapture": True,
    "InitialSamplingPercentage": 1,
    "DestinationS3Uri": "s3://bkt/",
    "CaptureOptions": [{"CaptureMode": "Input"}],
}
ASYNC = {"OutputConfig": {"S3OutputPath": "s3://bkt/"}}


async def test_a_configuration_is_described_as_it_was_created(w: World) -> None:
    """With the weight filled in, ARN and time."""
    await w.model("m")
    variant = {
        "VariantName": "v",
        "ModelName": "m",
        "InitialInstanceCount": 2,
        "InstanceType": "ml.m5.large",
        "ModelDataDownloadTimeoutInSeconds": 90,
        "ContainerStartupHealthCheckTimeoutInSeconds": 120,
        "VolumeSizeInGB": 10,
        "RoutingConfig": {"RoutingStrategy": "RANDOM"},
    }
    capture = {**CAPTURE, "EnableCapture": False}
    made = await w.sm(
        "create_endpoint_config",
        EndpointConfigName="Config",
        ProductionVariants=[variant],
        DataCaptureConfig=capture,
    )
    assert made["EndpointConfigArn"] == ARN + "config"
    found = await w.sm("describe_endpoint_config", EndpointConfigName="Config")
    assert found["ProductionVariants"] == [{**variant, "InitialVariantWeight": 1.0}]
    assert (found["EndpointConfigName"], found["EndpointConfigArn"]) == ("Config", ARN + "config")
    assert found["DataCaptureConfig"] == capture


async def test_a_deleted_configuration_is_gone(w: World) -> None:
    """And its name is free again."""
    await w.model("m")
    await w.config("c", "m")
    with pytest.raises(ClientError) as caught:
        await w.config("C", "m")
    message = f'Cannot create already existing endpoint configuration "{ARN}c".'
    assert caught.value.response["Error"]["Message"] == message
    await w.sm("delete_endpoint_config", EndpointConfigName="c")
    for operation in ("describe_endpoint_config", "delete_endpoint_config"):
        with pytest.raises(ClientError) as caught:
            await w.sm(operation, EndpointConfigName="c")
        error = caught.value.response["Error"]
        assert error["Code"] == "ValidationException"
        assert error["Message"] == f'Could not find endpoint configuration "{ARN}c".'
    await w.config("c", "m")


async def test_ten_variants_are_taken_and_no_two_of_one_name(w: World) -> None:
    """And eleven are not."""
    await w.model("m")
    usual = {"ModelName": "m", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    ten = [{"VariantName": f"v{n}", **usual} for n in range(10)]
    await w.sm("create_endpoint_config", EndpointConfigName="ten", ProductionVariants=ten)
    for variants, message in (
        ([*ten, {"VariantName": "v", **usual}], "Member must have length less than or equal to 10"),
        ([ten[0], ten[0]], "Duplicate production variant name 'v0'"),
        ([], "Member must have length greater than or equal to 1"),
    ):
        with pytest.raises(ClientError) as caught:
            await w.sm(
                "create_endpoint_config", EndpointConfigName="c", ProductionVariants=variants
            )
        assert message in caught.value.response["Error"]["Message"]


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ({"ModelName": "nope"}, 'Could not find model "arn:aws:sagemaker:us-west-2:'),
        ({"ModelName": None}, "inference components, is not supported by modelplex yet."),
        ({"InstanceType": "ml.fake.large"}, "ml.fake.large"),
        ({"InstanceType": None}, "InstanceType is required."),
        ({"InitialInstanceCount": None}, "InitialInstanceCount is required."),
        ({"InitialVariantWeight": -1.0}, "'productionVariants.1.member.initialVariantWeight'"),
        ({"AcceleratorType": "ml.eia2.medium"}, "AcceleratorType is not supported"),
        ({"EnableSSMAccess": True}, "EnableSSMAccess is not supported"),
        ({"CoreDumpConfig": {"DestinationS3Uri": "s3://bkt/"}}, "CoreDumpConfig is not supported"),
        ({"RoutingConfig": {"RoutingStrategy": "KV_AWARE"}}, "RoutingStrategy KV_AWARE"),
        ({"ManagedInstanceScaling": {"Status": "ENABLED"}}, "ManagedInstanceScaling is not"),
        ({"ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1}}, "ServerlessConfig"),
    ],
)
async def test_a_variant_that_cannot_be_is_refused(
    w: World, variant: dict[str, Any], message: str
) -> None:
    """By name, with ValidationException."""
    await w.model("model")
    with pytest.raises(ClientError) as caught:
        await w.config("c", **{"model": "model", **variant})
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert message in caught.value.response["Error"]["Message"]
    assert (await w.sm("list_endpoint_configs"))["EndpointConfigs"] == []


@pytest.mark.parametrize(
    ("members", "name"),
    [
        ({"DataCaptureConfig": CAPTURE}, "DataCaptureConfig"),
        ({"AsyncInferenceConfig": ASYNC}, "AsyncInferenceConfig"),
        ({"KmsKeyId": "key"}, "KmsKeyId"),
        ({"ExecutionRoleArn": ROLE}, "ExecutionRoleArn"),
        ({"EnableNetworkIsolation": True}, "EnableNetworkIsolation"),
        ({"MetricsConfig": {"EnableEnhancedMetrics": True}}, "MetricsConfig.EnableEnhancedMetrics"),
    ],
)
async def test_what_would_be_silently_missing_is_refused_by_name(
    w: World, members: dict[str, Any], name: str
) -> None:
    """An honest no is better than a yes that means nothing."""
    await w.model("m")
    variant = {"VariantName": "v", "ModelName": "m", "InitialInstanceCount": 1}
    with pytest.raises(ClientError) as caught:
        await w.sm(
            "create_endpoint_config",
            EndpointConfigName="c",
            ProductionVariants=[{**variant, "InstanceType": "ml.m5.large"}],
            **members,
        )
    expected = f"{name} is not supported by modelplex yet."
    assert caught.value.response["Error"]["Message"] == expected


async def test_shadow_variants_are_refused_by_name(w: World) -> None:
    """They would get no copies of the requests."""
    await w.model("m")
    variant = {"ModelName": "m", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    with pytest.raises(ClientError, match="ShadowProductionVariants is not supported"):
        await w.sm(
            "create_endpoint_config",
            EndpointConfigName="c",
            ProductionVariants=[{"VariantName": "v", **variant}],
            ShadowProductionVariants=[{"VariantName": "s", **variant}],
        )
