"""ARNs and image names: AWS's spelling of them."""

from __future__ import annotations

import pytest

from modelplex.aws import arns

WHERE = ("123456789012", "us-west-2")


def test_sagemaker_s_arns_are_in_lower_case() -> None:
    """The ARN of DEMO-Multimodel names demo-multimodel."""
    start = "arn:aws:sagemaker:us-west-2:123456789012"
    assert arns.sagemaker_arn(*WHERE, "endpoint", "DEMO-Multi") == f"{start}:endpoint/demo-multi"


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
    arn = f"arn:{partition}:sagemaker:{region}:123456789012:model/m"
    assert arns.sagemaker_arn("123456789012", region, "model", "m") == arn
