"""Which service a request is for, from its signature, target and path alone."""

from __future__ import annotations

import pytest

from modelplex.aws.signatures import sign
from modelplex.gateway.services import identify
from modelplex.http.messages import Body, Header, Request
from tests.gateway.world import KEYS


def request(method: str, target: str, headers: list[Header], scope: str) -> Request:
    """A request, signed for a service if `scope` names one."""
    if scope:
        url = f"http://h{target}"
        headers = sign(method, url, headers, "UNSIGNED-PAYLOAD", KEYS, scope, "r", 0)
    return Request(method, target.encode(), headers, Body.of(b""), "")


LIST = [(b"x-amz-target", b"SageMaker.ListModels")]
QUERY = "/b?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=K%2F20260101%2Fr%2Fs3%2Faws4_request"
PRESIGNED = (
    f"{QUERY}&X-Amz-Date=20260101T000000Z&X-Amz-Expires=9&X-Amz-SignedHeaders=host"
    "&X-Amz-Signature=00"
)


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (request("POST", "/", LIST, "sagemaker"), "sagemaker"),
        (request("POST", "/", [], "sagemaker"), "sagemaker"),
        (request("POST", "/endpoints/e/invocations", [], "sagemaker"), "sagemaker-runtime"),
        (request("POST", "/endpoints/e/async-invocations", [], "sagemaker"), "sagemaker-runtime"),
        (request("GET", "/endpoints/e/invocations", [], "sagemaker"), "sagemaker"),
        (request("POST", "/endpoints/e/invocations", [], "s3"), "s3"),
        (request("POST", "/", [], "sts"), "sts"),
        (request("POST", "/", [], "iam"), "iam"),
        (request("POST", "/", [], "logs"), "logs"),
        (request("GET", "/modelplex/status", [], "modelplex"), "modelplex"),
        (request("POST", "/", [], "ecr"), "ecr"),
        (request("POST", "/", [(b"x-amz-target", b"AmazonEC2ContainerRegistry_V1.X")], ""), "ecr"),
        (request("GET", PRESIGNED, [], ""), "s3"),
        (request("GET", "/bucket", [], ""), "s3"),
        (request("POST", "/", LIST, ""), "sagemaker"),
        (request("POST", "/", [(b"x-amz-target", b"Logs_20140328.X")], ""), "logs"),
        (request("POST", "/endpoints/e/invocations", [], ""), "sagemaker-runtime"),
        (request("GET", "/b", [(b"authorization", b"nonsense")], ""), "s3"),
    ],
)
def test_services_are_told_apart(made: Request, name: str) -> None:
    """By scope; where two share one, by path; without a signature, by target and path."""
    assert identify(made).name == name


def test_a_service_that_is_not_here_is_known_as_such() -> None:
    """So that it can be refused by name."""
    assert not identify(request("POST", "/", [], "ec2")).served
    assert identify(request("POST", "/", [], "sts")).served
