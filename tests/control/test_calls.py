"""The protocols: what boto3 is answered, and what a broken client is."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from modelplex.aws import shapes
from modelplex.cloudwatch.operations import Logs
from modelplex.control.identity import QUERY
from modelplex.control.operations import SAGEMAKER
from modelplex.control.records import Records
from modelplex.http.client import Client
from tests.control.world import World


async def post(w: World, target: str, body: bytes, service: str = "sagemaker") -> tuple[int, Any]:
    """A request that no SDK would make."""
    client = Client(f"tcp:127.0.0.1:{w.port}")
    headers = [
        (b"authorization", f"AWS4-HMAC-SHA256 Credential=A/1/us-west-2/{service}/x".encode()),
        (b"x-amz-target", target.encode()),
    ]
    response = await client.request("POST", b"/", headers, body)
    answer = await response.read(2**20)
    assert response.header(b"x-amzn-requestid")
    await client.close()
    return response.status, answer


def test_every_operation_of_the_slices_is_served() -> None:
    """And nothing else is in the tables."""
    assert set(SAGEMAKER) == set(shapes.load("sagemaker").operations)
    for service, operations in QUERY.items():
        assert set(operations) == set(shapes.load(service).operations)
    logs = Logs(Path("/nonexistent"), "123456789012", "us-west-2")
    assert set(logs.operations) == set(shapes.load("logs").operations)


async def test_identity_and_roles_are_answered_as_xml(w: World) -> None:
    """The account is the settings' one; every name is a role, Studio's under its own path."""
    found = await w.aws("sts", "get_caller_identity")
    assert found["Account"] == "123456789012"
    assert found["Arn"] == "arn:aws:iam::123456789012:user/modelplex"
    assert found["UserId"]
    assert found["ResponseMetadata"]["RequestId"]
    role = (await w.aws("iam", "get_role", RoleName="my-role"))["Role"]
    assert role["Arn"] == "arn:aws:iam::123456789012:role/my-role"
    assert (role["Path"], role["RoleName"], role["MaxSessionDuration"]) == ("/", "my-role", 3600)
    statement = role["AssumeRolePolicyDocument"]["Statement"][0]
    assert statement["Principal"] == {"Service": "sagemaker.amazonaws.com"}
    name = "AmazonSageMaker-ExecutionRole-20260101T000000"
    role = (await w.aws("iam", "get_role", RoleName=name))["Role"]
    assert role["Arn"] == f"arn:aws:iam::123456789012:role/service-role/{name}"


@pytest.mark.parametrize(
    ("service", "operation", "members", "code"),
    [
        ("sagemaker", "create_training_job", {}, "NotImplemented"),
        ("sagemaker", "update_endpoint", {"EndpointName": "e"}, "NotImplemented"),
        ("sts", "get_session_token", {}, "NotImplemented"),
        ("iam", "list_roles", {}, "NotImplemented"),
        ("iam", "get_role", {"RoleName": "bad name!"}, "ValidationError"),
        ("logs", "put_log_events", {}, "NotImplemented"),
    ],
)
async def test_what_is_not_served_is_refused_by_name(
    w: World, service: str, operation: str, members: dict[str, Any], code: str
) -> None:
    """With an error that boto3 can read, in every protocol."""
    with pytest.raises(ClientError) as caught:
        await w.aws(service, operation, **members)
    error = caught.value.response["Error"]
    assert error["Code"] == code
    if code == "NotImplemented":
        assert operation.replace("_", "") in error["Message"].lower()
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501


@pytest.mark.parametrize(
    ("target", "body", "code"),
    [
        ("SageMaker.DoMagic", b"{}", "UnknownOperationException"),
        ("", b"{}", "UnknownOperationException"),
        ("SageMaker.ListModels", b"{", "SerializationException"),
        ("SageMaker.ListModels", b"\xff", "SerializationException"),
        ("SageMaker.ListModels", b"[" * 100_000, "SerializationException"),
        ("SageMaker.ListModels", b"[]", "SerializationException"),
        ("SageMaker.ListModels", b'{"MaxResults": "ten"}', "SerializationException"),
        ("SageMaker.DescribeModel", b"{}", "ValidationException"),
        ("SageMaker.ListModels", b" " * (1024 * 1024 + 1), "RequestEntityTooLarge"),
    ],
)
async def test_a_broken_request_gets_a_typed_error(
    w: World, target: str, body: bytes, code: str
) -> None:
    """As AWS JSON 1.1 services answer."""
    status, answer = await post(w, target, body)
    assert status in (400, 413)
    assert json.loads(answer)["__type"] == code


async def test_an_empty_body_is_an_empty_request(w: World) -> None:
    """Some clients send none when there are no members."""
    status, answer = await post(w, "SageMaker.ListModels", b"")
    assert (status, json.loads(answer)) == (200, {"Models": []})


async def test_a_query_without_a_known_action_is_refused(w: World) -> None:
    """In XML."""
    for body in (b"", b"Action=DoMagic&Version=1", b"\xff"):
        status, answer = await post(w, "", body, "sts")
        assert status == 400
        assert b"<Code>UnknownOperationException</Code>" in answer


async def test_a_service_that_control_does_not_know_is_refused(w: World) -> None:
    """The gateway should not have asked."""
    status, answer = await post(w, "X.Y", b"{}", "dynamodb")
    assert status == 400
    assert "dynamodb" in json.loads(answer)["message"]


async def test_a_defect_is_the_services_internal_failure(
    w: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The client is told nothing of its insides, the log everything."""

    def broken(*_: object, **__: object) -> None:
        raise sqlite3.ProgrammingError("sqlite: cannot operate on a closed database")

    monkeypatch.setattr(Records, "find", broken)
    status, answer = await post(w, "SageMaker.ListModels", b"{}")
    assert status == 500
    assert json.loads(answer)["__type"] == "InternalFailure"
    assert b"sqlite" not in answer.lower()
    assert "sqlite: cannot operate" in caplog.text
