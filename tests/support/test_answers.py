"""The check of answers sees what it is there to see."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from modelplex.aws import shapes
from tests.support.answers import check_answer

SAGEMAKER = shapes.load("sagemaker")
GOOD = {
    "EndpointName": "e",
    "EndpointArn": "arn:aws:sagemaker:us-west-2:123456789012:endpoint/e",
    "EndpointStatus": "InService",
    "CreationTime": 1.5,
    "LastModifiedTime": 2,
}


def test_a_good_answer_passes() -> None:
    """What botocore's own stubber accepts as an answer, `check_answer` accepts."""
    check_answer(SAGEMAKER, "DescribeEndpoint", GOOD)
    check_answer(SAGEMAKER, "DeleteEndpoint", None)
    client = boto3.client("sagemaker", region_name="us-west-2")
    Stubber(client).add_response("describe_endpoint", GOOD)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"EndpointArn": None}, "EndpointArn is no string"),
        ({"EndpointStatus": "Perfect"}, "is none of"),
        ({"CreationTime": "2026-01-01T00:00:00Z"}, "CreationTime is no timestamp"),
        ({"Extra": 1}, "does not know: \\['Extra'\\]"),
        ({"ProductionVariants": [{"VariantName": 1}]}, r"ProductionVariants\[0\]\.VariantName"),
        ({"ProductionVariants": [{}]}, "lacks \\['VariantName'\\]"),
    ],
)
def test_a_bad_answer_fails(change: dict[str, Any], words: str) -> None:
    """Types, required members, enums and unknown members are all seen."""
    with pytest.raises(AssertionError, match=words):
        check_answer(SAGEMAKER, "DescribeEndpoint", {**GOOD, **change})


def test_an_operation_that_gives_nothing() -> None:
    """A delete has an empty answer."""
    with pytest.raises(AssertionError, match="gives nothing"):
        check_answer(SAGEMAKER, "DeleteEndpoint", {"a": 1})


def test_required_members_of_an_answer() -> None:
    """An answer without its required members is none."""
    with pytest.raises(AssertionError, match="lacks"):
        check_answer(SAGEMAKER, "DescribeEndpoint", {})
