"""The door: who is it, what for, and refusals in each service's own form."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from modelplex.aws.signatures import Keys, payload_hash, sign
from modelplex.gateway.door import Door
from tests.gateway.world import KEYS, REGION, FakeControl, Gateway

STRANGER = Keys("AKIAUNKNOWN", "some-secret")
SCOPE = ("sagemaker", REGION)
FORGER = Keys(KEYS.access_key, "another-secret")


def call(gateway: Gateway, service: str, keys: Keys) -> Any:
    """One call of each service by boto3."""
    client = gateway.boto3(service, keys)
    match service:
        case "sagemaker":
            return client.list_models()
        case "sagemaker-runtime":
            return client.invoke_endpoint(EndpointName="e", Body=b"x")
        case "sts":
            return client.get_caller_identity()
        case "iam":
            return client.get_role(RoleName="r")
        case _:
            return client.describe_log_groups()


@pytest.mark.parametrize(
    ("service", "keys", "refusal"),
    [
        ("sagemaker", STRANGER, ("UnrecognizedClientException", 400)),
        ("sagemaker", FORGER, ("InvalidSignatureException", 400)),
        ("sagemaker-runtime", STRANGER, ("UnrecognizedClientException", 403)),
        ("sagemaker-runtime", FORGER, ("InvalidSignatureException", 403)),
        ("sts", STRANGER, ("InvalidClientTokenId", 403)),
        ("sts", FORGER, ("SignatureDoesNotMatch", 403)),
        ("iam", FORGER, ("SignatureDoesNotMatch", 403)),
        ("logs", FORGER, ("InvalidSignatureException", 400)),
    ],
)
async def test_wrong_keys_get_each_services_own_code(
    gateway: Gateway, control: FakeControl, service: str, keys: Keys, refusal: tuple[str, int]
) -> None:
    """An unknown key and a wrong secret are refused as AWS does, and control hears nothing."""
    with pytest.raises(ClientError) as caught:
        await asyncio.to_thread(call, gateway, service, keys)
    response = caught.value.response
    got = (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"])
    assert got == refusal
    assert all(request.path.startswith(b"/snapshot") for request, _ in control.seen)


@pytest.mark.parametrize(
    ("service", "target", "body"),
    [
        ("sagemaker", "SageMaker.ListModels", "{}"),
        ("sagemaker", "SageMaker.NoSuchThing", "{}"),
        ("sts", "", "Action=GetCallerIdentity&Version=2011-06-15"),
        ("iam", "", "Action=GetRole&RoleName=r"),
        ("logs", "Logs_20140328.GetLogEvents", "{}"),
    ],
)
async def test_control_gets_all_other_services(
    gateway: Gateway, control: FakeControl, service: str, target: str, body: str
) -> None:
    """Headers and body arrive as they were sent, with who called and the request's id."""
    headers = [(b"x-amz-target", target.encode())] if target else []
    headers.append((b"content-type", b"a/b"))
    response, answer = await gateway.signed("POST", "/", headers, body.encode(), service)
    document = json.loads(answer)
    assert response.status == 200
    assert document["path"] == f"/aws/{service}"
    assert document["body"] == body
    assert document["headers"]["x-modelplex-access-key"] == KEYS.access_key
    assert document["headers"]["content-type"] == "a/b"
    assert document["headers"]["x-amzn-requestid"]
    assert document["headers"].get("x-amz-target", "") == target


async def test_our_own_calls_keep_their_path(gateway: Gateway, control: FakeControl) -> None:
    """Scope modelplex: method, path and query reach control untouched."""
    target = "/modelplex/endpoints/e/events?after=3"
    _, answer = await gateway.signed("GET", target, [], b"", "modelplex")
    assert json.loads(answer)["path"] == target


async def test_a_client_cannot_name_another_caller(gateway: Gateway, control: FakeControl) -> None:
    """What the gateway tells control of the caller cannot be sent by the client."""
    headers = [(b"x-modelplex-access-key", b"root"), (b"x-amzn-requestid", b"mine")]
    _, answer = await gateway.signed("POST", "/", headers, b"{}", "sagemaker")
    seen = json.loads(answer)["headers"]
    assert seen["x-modelplex-access-key"] == KEYS.access_key
    assert seen["x-amzn-requestid"] != "mine"


async def test_a_service_that_is_not_here_is_named(gateway: Gateway, control: FakeControl) -> None:
    """ecs is answered 501 with what there is."""
    with pytest.raises(ClientError, match="does not serve 'ecs'") as caught:
        await asyncio.to_thread(gateway.boto3("ecs").list_clusters)
    assert caught.value.response["Error"]["Code"] == "NotImplemented"


async def test_a_control_call_has_its_limit(gateway: Gateway, control: FakeControl) -> None:
    """A body beyond it is 413 in the service's form."""
    response, body = await gateway.signed("POST", "/", [], b"x" * 10_001, "sagemaker")
    assert response.status == 413
    assert json.loads(body)["__type"] == "RequestEntityTooLarge"


async def test_the_health_check_needs_no_signature(gateway: Gateway) -> None:
    """GET /ping says without a store whether the endpoints are known yet."""
    response, body = await gateway.raw("GET", "/ping", [])
    assert (response.status, json.loads(body)) == (503, {"status": "Starting"})


async def test_the_health_check_is_good_once_control_has_spoken(
    gateway: Gateway, control: FakeControl
) -> None:
    """And it stays good, since the last snapshot stays in use."""
    async with asyncio.timeout(30):
        while (await gateway.raw("GET", "/ping", []))[0].status != 200:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        ("/", [(b"x-amz-target", b"SageMaker.ListModels")], b"MissingAuthenticationToken"),
        ("/endpoints/e/invocations", [], b"Missing Authentication Token"),
        ("/bucket/key", [], b"<Code>AccessDenied</Code>"),
    ],
)
async def test_unsigned_requests_are_refused(
    gateway: Gateway, path: str, headers: list[tuple[bytes, bytes]], expected: bytes
) -> None:
    """Nothing but the health check is open to whoever finds the port."""
    response, body = await gateway.raw("POST", path, headers, b"{}")
    assert response.status in (400, 403)
    assert expected in body


async def test_invocations_may_be_let_in_unsigned(
    gateway: Gateway, control: FakeControl, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a setting, without any signature; a wrong one is still refused, as is all else."""
    monkeypatch.setattr(door, "_unsigned_invocations", True)
    target = "/endpoints/nosuch/invocations"
    response, body = await gateway.raw("POST", target, [], b"x")
    assert (response.status, response.header(b"x-amzn-errortype")) == (400, b"ValidationError")
    assert b"Endpoint nosuch of account" in body
    forged = sign("POST", gateway.url + target, [], payload_hash(b"x"), FORGER, *SCOPE, time.time())
    response, _ = await gateway.raw("POST", target, forged, b"x")
    assert response.status == 403
    response, _ = await gateway.raw(
        "POST", "/", [(b"x-amz-target", b"SageMaker.ListModels")], b"{}"
    )
    assert response.status == 400


async def test_a_tampered_body_is_refused(gateway: Gateway, control: FakeControl) -> None:
    """The signature covers the body."""
    headers = [(b"x-amz-target", b"SageMaker.ListModels")]
    signed = sign(
        "POST",
        gateway.url + "/",
        headers,
        payload_hash(b"{}"),
        KEYS,
        "sagemaker",
        REGION,
        time.time(),
    )
    response, body = await gateway.raw("POST", "/", signed, b'{"x": 1}')
    assert response.status == 400
    assert b"InvalidSignatureException" in body


async def test_a_control_that_restarts_is_waited_for(
    gateway: Gateway, control: FakeControl
) -> None:
    """A call made while control is away is answered when it is back."""
    await control.stop()
    call = asyncio.create_task(gateway.signed("POST", "/", [], b"{}", "sagemaker"))
    await asyncio.sleep(0.3)
    await control.start()
    response, _ = await call
    assert response.status == 200
