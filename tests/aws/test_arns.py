"""ARNs and image names: AWS's spelling of them."""

from __future__ import annotations

import pytest

from modelplex.aws import arns
from modelplex.aws.arns import Arn

WHERE = ("123456789012", "us-west-2")


def test_sagemaker_s_arns_are_in_lower_case() -> None:
    """The ARN of DEMO-Multimodel names demo-multimodel."""
    start = "arn:aws:sagemaker:us-west-2:123456789012"
    assert arns.endpoint_arn(*WHERE, "DEMO-Multi") == f"{start}:endpoint/demo-multi"
    assert arns.endpoint_config_arn(*WHERE, "Demo") == f"{start}:endpoint-config/demo"
    assert arns.model_arn(*WHERE, "Demo") == f"{start}:model/demo"


def test_other_arns_keep_their_case() -> None:
    """IAM and CloudWatch Logs keep names as they are."""
    assert arns.role_arn(*WHERE, "SageRole") == "arn:aws:iam::123456789012:role/SageRole"
    assert arns.user_arn(*WHERE, "Ann") == "arn:aws:iam::123456789012:user/Ann"
    group = arns.log_group("Demo")
    assert arns.log_stream_arn(*WHERE, group, "all/i-1") == (
        "arn:aws:logs:us-west-2:123456789012:log-group:/aws/sagemaker/Endpoints/Demo"
        ":log-stream:all/i-1"
    )


@pytest.mark.parametrize(
    ("region", "partition"),
    [("us-west-2", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")],
)
def test_the_partition_follows_the_region(region: str, partition: str) -> None:
    """China and GovCloud are parts of their own."""
    text = arns.model_arn("123456789012", region, "m")
    assert Arn.parse(text).partition == partition


@pytest.mark.parametrize(
    "text",
    [
        "arn:aws:sagemaker:us-west-2:123456789012:endpoint/demo",
        "arn:aws:iam::123456789012:role/service-role/R",
        "arn:aws:logs:us-west-2:123456789012:log-group:/g:log-stream:a/b",
    ],
)
def test_an_arn_survives_parsing(text: str) -> None:
    """Taken apart and put together it is the same."""
    assert str(Arn.parse(text)) == text


def test_kind_and_name_of_a_resource() -> None:
    """A resource has a kind, and a name that may contain slashes."""
    arn = Arn.parse("arn:aws:iam::123456789012:role/service-role/R")
    assert (arn.kind, arn.name) == ("role", "service-role/R")


@pytest.mark.parametrize("text", ["", "demo", "arn:aws:sagemaker", "urn:a:b:c:d:e", "arn:::::x"])
def test_what_is_no_arn(text: str) -> None:
    """The error says what one looks like."""
    with pytest.raises(ValueError, match="looks like arn:aws"):
        Arn.parse(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("123456789012.dkr.ecr.us-west-2.amazonaws.com/demo:latest", "demo:latest"),
        ("123456789012.dkr.ecr.us-west-2.amazonaws.com/team/demo:v1.2", "team/demo:v1.2"),
        ("demo:v1", "demo:v1"),
        ("demo", "demo:latest"),
        ("team/demo", "team/demo:latest"),
        ("localhost:5000/demo", "demo:latest"),
        ("localhost/demo:1", "demo:1"),
        (f"demo:v1@sha256:{'0' * 64}", "demo:v1"),
        (f"demo@sha256:{'0' * 64}", "demo:latest"),
        ("demo-sagemaker_multi.model", "demo-sagemaker_multi.model:latest"),
    ],
)
def test_image_names(text: str, name: str) -> None:
    """Registry and digest do not count; NAME:TAG does."""
    assert str(arns.image_name(text)) == name


@pytest.mark.parametrize(
    "text", ["", ":tag", "Demo", "demo:", "demo:a b", "demo:a:b", "../x", "a//b", "/demo", "demo/"]
)
def test_what_is_no_image_name(text: str) -> None:
    """The error says what one looks like."""
    with pytest.raises(ValueError, match="NAME:TAG"):
        arns.image_name(text)
