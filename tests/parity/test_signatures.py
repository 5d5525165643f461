"""Signatures at the one port: AWS's own code for each way of being wrong, service by service."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.auth
import pytest
from botocore.exceptions import ClientError

from tests.support.platform import Platform

pytestmark = pytest.mark.e2e

CALLS: dict[str, Callable[[Any], object]] = {
    "sagemaker": lambda client: client.list_models(),
    "sagemaker-runtime": lambda client: client.invoke_endpoint(EndpointName="e", Body=b"x"),
    "sts": lambda client: client.get_caller_identity(),
    "iam": lambda client: client.get_role(RoleName="r"),
    "s3": lambda client: client.list_buckets(),
    "logs": lambda client: client.describe_log_groups(),
}
WRONG_KEY = {
    "sagemaker": "UnrecognizedClientException",
    "sagemaker-runtime": "UnrecognizedClientException",
    "sts": "InvalidClientTokenId",
    "iam": "InvalidClientTokenId",
    "s3": "InvalidAccessKeyId",
    "logs": "UnrecognizedClientException",
}
WRONG_SIGNATURE = {
    "sagemaker": "InvalidSignatureException",
    "sagemaker-runtime": "InvalidSignatureException",
    "sts": "SignatureDoesNotMatch",
    "iam": "SignatureDoesNotMatch",
    "s3": "SignatureDoesNotMatch",
    "logs": "InvalidSignatureException",
}
SKEWED = {**WRONG_SIGNATURE, "s3": "RequestTimeTooSkewed"}


def code_of(client: Any, service: str) -> str:
    with pytest.raises(ClientError) as caught:
        CALLS[service](client)
    return str(caught.value.response["Error"]["Code"])


@pytest.mark.parametrize("service", CALLS)
def test_a_wrong_key(platform: Platform, service: str) -> None:
    """An access key that was never issued."""
    client = platform.client(service, aws_access_key_id="AKIAAAAAAAAAAAAAAAAA")
    assert code_of(client, service) == WRONG_KEY[service]


@pytest.mark.parametrize("service", CALLS)
def test_a_wrong_secret(platform: Platform, service: str) -> None:
    """The right access key with another secret."""
    client = platform.client(service, aws_secret_access_key="x" * 40)
    assert code_of(client, service) == WRONG_SIGNATURE[service]


@pytest.mark.parametrize("service", CALLS)
def test_a_skewed_clock(platform: Platform, service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client whose clock is twenty minutes slow, with the right keys."""
    slow = datetime.now(UTC).replace(tzinfo=None) - timedelta(minutes=20)

    def slow_clock(remove_tzinfo: bool = True) -> datetime:
        return slow if remove_tzinfo else slow.replace(tzinfo=UTC)

    monkeypatch.setattr(botocore.auth, "get_current_datetime", slow_clock)
    assert code_of(platform.client(service), service) == SKEWED[service]


def test_the_right_keys_are_somebody(platform: Platform) -> None:
    """sts tells the account, iam a role in it."""
    assert platform.client("sts").get_caller_identity()["Account"] == "123456789012"
    role = platform.client("iam").get_role(RoleName="anyone")["Role"]
    assert role["Arn"] == "arn:aws:iam::123456789012:role/anyone"


def test_other_operations_are_refused_by_name(platform: Platform) -> None:
    """An operation that AWS has and modelplex has not is a typed error that names it."""
    with pytest.raises(ClientError, match="ListTrainingJobs") as caught:
        platform.client("sagemaker").list_training_jobs()
    assert caught.value.response["Error"]["Code"].startswith("NotImplemented")
    with pytest.raises(ClientError, match="GetSessionToken"):
        platform.client("sts").get_session_token()
