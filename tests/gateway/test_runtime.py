"""InvokeEndpoint through the gateway: boto3 in front, invented instances behind."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from modelplex.gateway import runtime
from modelplex.http.messages import Request, Response
from modelplex.lanes.wire import path_beside
from tests.gateway.world import FakeControl, FakeInstance, Gateway


async def invoke(gateway: Gateway, **arguments: Any) -> dict[str, Any]:
    """InvokeEndpoint by boto3, with its body read."""
    arguments = {"EndpointName": "e", "TargetModel": "m.tar.gz", "Body": b"hi"} | arguments
    arguments = {name: value for name, value in arguments.items() if value is not None}

    def call() -> dict[str, Any]:
        answer = gateway.boto3("sagemaker-runtime").invoke_endpoint(**arguments)
        return {**answer, "Body": answer["Body"].read()}

    return await asyncio.to_thread(call)


async def refused(gateway: Gateway, **arguments: Any) -> tuple[str, int, str]:
    """Code, status and message of a refused InvokeEndpoint."""
    with pytest.raises(ClientError) as caught:
        await invoke(gateway, **arguments)
    response = caught.value.response
    error = response["Error"]
    return error["Code"], response["ResponseMetadata"]["HTTPStatusCode"], error["Message"]


async def test_an_answer_passes_through(gateway: Gateway, control: FakeControl, start: Any) -> None:
    """The instance sees the documented headers alone, the client its answer and the variant."""

    async def answer(request: Request) -> Response:
        body = await request.body.read(100)
        headers = [
            (b"content-type", b"x/y"),
            (b"x-amzn-sagemaker-custom-attributes", b"from-model"),
        ]
        return Response(200, headers, body[::-1])

    instance = await start("i1", answer)
    control.publish("e", instance.row())
    reply = await invoke(
        gateway, ContentType="a/b", Accept="c/d", CustomAttributes="ca", InferenceId="id1"
    )
    assert reply["Body"] == b"ih"
    assert reply["ContentType"] == "x/y"
    assert reply["CustomAttributes"] == "from-model"
    assert reply["InvokedProductionVariant"] == "AllTraffic"
    metadata = reply["ResponseMetadata"]
    seen = dict(instance.seen[0].headers)
    request_id = seen.pop(b"x-amzn-requestid").decode()
    assert request_id == metadata["RequestId"]
    assert seen == {
        b"content-type": b"a/b",
        b"accept": b"c/d",
        b"x-amzn-sagemaker-custom-attributes": b"ca",
        b"x-amzn-sagemaker-target-model": b"m.tar.gz",
        b"x-amzn-sagemaker-inference-id": b"id1",
    }


async def test_an_instances_error_is_the_clients(
    gateway: Gateway, control: FakeControl, start: Any
) -> None:
    """A ModelError in wire form reaches boto3 as it is."""

    async def answer(_: Request) -> Response:
        headers = [(b"content-type", b"application/json"), (b"x-amzn-errortype", b"ModelError")]
        return Response(424, headers, b'{"Message": "bad", "OriginalStatusCode": 500}')

    control.publish("e", (await start("i1", answer)).row())
    assert await refused(gateway) == ("ModelError", 424, "bad")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"EndpointName": "nosuch"}, "Endpoint nosuch of account 123456789012 not found."),
        ({"EndpointName": "making"}, "its status is Creating"),
        ({"TargetModel": None}, "is missing a target model header"),
        (
            {"EndpointName": "single"},
            "is not a multi-model endpoint and does not support target model header.",
        ),
        ({"TargetModel": "../m"}, "Invalid target model"),
        ({"TargetModel": "/m"}, "Invalid target model"),
        ({"TargetModel": "a//m"}, "Invalid target model"),
        ({"TargetModel": "a\\..\\m"}, "Invalid target model"),
        ({"TargetModel": "m" * 1025}, "less than or equal to 1024"),
        ({"TargetVariant": "other"}, "Variant other not found"),
        ({"TargetContainerHostname": "c"}, "TargetContainerHostname is not supported"),
        ({"InferenceId": "i" * 65}, "inferenceId"),
        ({"EndpointName": "-e"}, "endpointName"),
    ],
)
async def test_refusals_come_in_the_services_words(
    gateway: Gateway, control: FakeControl, arguments: dict[str, Any], text: str
) -> None:
    """Each bad request is a ValidationError that says what was wrong, and reaches no instance."""
    control.publish("e")
    control.publish("making", status="Creating")
    single = {"name": "V", "weight": 1, "mode": "SingleModel", "multi_model": False}
    control.publish("single", variants=[{**single, "instances": []}])
    code, status, message = await refused(gateway, **arguments)
    assert (code, status) == ("ValidationError", 400)
    assert text in message


async def test_streaming_is_refused_by_name(gateway: Gateway, control: FakeControl) -> None:
    """Operations that do not exist yet say so, and SDKs do not try them again."""
    for path, name in (
        ("invocations-response-stream", "InvokeEndpointWithResponseStream"),
        ("async-invocations", "InvokeEndpointAsync"),
    ):
        response, body = await gateway.signed("POST", f"/endpoints/e/{path}", [], b"x", "sagemaker")
        assert response.status == 501
        assert name.encode() in body


async def test_bodies_have_aws_limit(gateway: Gateway, control: FakeControl) -> None:
    """One byte too many is 413, in the runtime's form."""
    code, status, message = await refused(gateway, Body=b"x" * 100_001)
    assert (code, status) == ("RequestEntityTooLarge", 413)
    assert message == "HTTP content length exceeded 100000 bytes."


async def test_a_new_endpoint_is_found_at_once(gateway: Gateway, control: FakeControl) -> None:
    """An endpoint that the stream has not told of yet is asked for, once for many requests."""
    control.streams = False
    control.publish("e")
    codes = await asyncio.gather(*(refused(gateway, TargetModel="../x") for _ in range(5)))
    assert all("Invalid target model" in message for _, _, message in codes)


async def test_a_model_stays_with_its_instance(
    gateway: Gateway, control: FakeControl, start: Any
) -> None:
    """Requests for one model go to one instance, different models use both."""
    instances = [await start("i1"), await start("i2")]
    control.publish("e", *(i.row() for i in instances))
    for _ in range(2):
        for number in range(10):
            await invoke(gateway, TargetModel=f"m{number}")
    models = [
        {request.header(b"x-amzn-sagemaker-target-model") for request in instance.seen}
        for instance in instances
    ]
    assert not models[0] & models[1]
    assert all(models)


async def test_variants_are_named_or_drawn(
    gateway: Gateway, control: FakeControl, start: Any
) -> None:
    """TargetVariant decides; a variant of weight 0 is reached by name alone."""
    one, two = await start("i1"), await start("i2")
    shape = {"mode": "SingleModel", "multi_model": False}
    control.publish(
        "e",
        variants=[
            {"name": "A", "weight": 1.0, "instances": [one.row()], **shape},
            {"name": "B", "weight": 0.0, "instances": [two.row()], **shape},
        ],
    )
    named = await invoke(gateway, TargetModel=None, TargetVariant="B")
    assert (named["Body"], named["InvokedProductionVariant"]) == (b"i2:hi", "B")
    drawn = [await invoke(gateway, TargetModel=None) for _ in range(5)]
    assert {answer["InvokedProductionVariant"] for answer in drawn} == {"A"}


async def test_a_dead_instance_is_passed_over(
    gateway: Gateway, control: FakeControl, start: Any
) -> None:
    """What cannot be delivered to one instance goes to the next."""
    instances = [await start("i1"), await start("i2")]
    control.publish("e", *(i.row() for i in instances))
    await instances[0].stop()
    answers = [await invoke(gateway, TargetModel=f"m{n}") for n in range(6)]
    assert {answer["Body"] for answer in answers} == {b"i2:hi"}


def dying(instance: FakeInstance, *states: str) -> Any:
    """A handler that says the states, `waits` or `begun`, and then loses its process."""

    async def answer(request: Request) -> Response:
        await request.body.read(100)
        for state in states:
            getattr(instance.asked, state)()
        await instance.stop()
        return Response(500)

    return answer


async def test_a_request_lost_while_waiting_goes_on(
    gateway: Gateway, control: FakeControl, start: Any
) -> None:
    """It had reached no handler, so another instance may have it."""
    first = await start("i1")
    first.handler = dying(first, "waits")
    control.publish("e", first.row(), (await start("i2")).row(healthy=False))
    assert (await invoke(gateway))["Body"] == b"i2:hi"
    assert len(first.seen) == 1


async def test_an_unread_request_goes_on(
    gateway: Gateway, control: FakeControl, data: Path, start: Any
) -> None:
    """An instance that dies before it reads a request has not begun it."""
    frozen = FakeInstance("frozen", data / "run" / "frozen.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path_beside(str(frozen.path)))
    listener.listen()
    control.publish("e", frozen.row(), (await start("i2")).row(healthy=False))
    answer = asyncio.create_task(invoke(gateway))
    connection, _ = await asyncio.to_thread(listener.accept)
    await asyncio.sleep(0.05)
    connection.close()
    listener.close()
    assert (await answer)["Body"] == b"i2:hi"


@pytest.mark.parametrize("states", [(), ("waits", "begun")])
async def test_a_request_lost_in_a_handler_is_not_repeated(
    gateway: Gateway, control: FakeControl, start: Any, states: tuple[str, ...]
) -> None:
    """A handler may have seen it: ServiceUnavailable, and the other instance hears nothing."""
    first, second = await start("i1"), await start("i2")
    first.handler = dying(first, *states)
    control.publish("e", first.row(), second.row(healthy=False))
    code, status, _ = await refused(gateway)
    assert (code, status) == ("ServiceUnavailable", 503)
    assert not second.seen


async def test_requests_wait_for_a_replacement(
    gateway: Gateway, control: FakeControl, start: Any
) -> None:
    """With no instance left, a request is answered by the one that comes."""
    gone = await start("gone")
    await gone.stop()
    control.publish("e", gone.row())
    waiting = asyncio.create_task(invoke(gateway))
    await asyncio.sleep(0.3)
    control.publish("e", (await start("i2")).row())
    assert (await waiting)["Body"] == b"i2:hi"


async def test_an_instance_that_is_starting_is_not_asked_in_vain(
    gateway: Gateway, control: FakeControl, start: Any
) -> None:
    """Its bare 503 means that nothing has happened yet: the request waits until it is ready."""
    ready = asyncio.Event()

    async def answer(request: Request) -> Response:
        if not ready.is_set():
            ready.set()
            return Response(503, [], b'{"message": "the instance is Starting"}')
        return Response(200, [], b"ready")

    control.publish("e", (await start("i1", answer)).row())
    assert (await invoke(gateway))["Body"] == b"ready"


async def test_endpoints_answer_while_control_is_gone(
    gateway: Gateway, control: FakeControl, start: Any
) -> None:
    """The last snapshot stays in use, and the next control is followed again."""
    control.publish("e", (await start("i1")).row())
    assert (await invoke(gateway))["Body"] == b"i1:hi"
    await control.stop()
    assert (await invoke(gateway))["Body"] == b"i1:hi"
    control.endpoints.clear()
    await control.start()
    control.publish("f", (await start("i2")).row())
    assert (await invoke(gateway, EndpointName="f"))["Body"] == b"i2:hi"


async def test_a_client_that_leaves_cancels_its_request(
    gateway: Gateway, control: FakeControl, start: Any
) -> None:
    """The instance's handler is cancelled when the caller's connection goes."""
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def answer(_: Request) -> Response:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return Response(200)

    control.publish("e", (await start("i1", answer)).row())
    target = "/endpoints/e/invocations"
    header = (b"x-amzn-sagemaker-target-model", b"m")
    call = asyncio.create_task(gateway.signed("POST", target, [header], b"x", "sagemaker"))
    await asyncio.wait_for(begun.wait(), 30)
    call.cancel()
    await asyncio.wait_for(cancelled.wait(), 30)
    assert cancelled.is_set()


async def test_what_was_asked_is_remembered_within_bounds(
    gateway: Gateway, control: FakeControl, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More kinds of requests than are remembered are answered like the few."""
    monkeypatch.setattr(runtime, "CALLS_MAX", 2)
    instance = await start("i1")
    control.publish("e", instance.row())
    models = [f"m{number}.tar.gz" for number in (1, 2, 3, 1, 3)]
    for model in models:
        assert (await invoke(gateway, TargetModel=model))["Body"] == b"i1:hi"
    assert [
        seen.header(b"x-amzn-sagemaker-target-model").decode() for seen in instance.seen
    ] == models
