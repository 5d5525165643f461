"""Predictions over HTTP, on the express and on the ordinary path, against an in-memory model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from modelplex.server.errors import Internal, ServerError, Unavailable
from modelplex.server.serving.models import Health
from modelplex.workers.invocations import Answer, Invocation
from tests.server.twins import TwinModel, World, world

CONSTANT = {
    b"pragma": b"no-cache",
    b"cache-control": b"no-cache; no-store, must-revalidate, private",
    b"expires": b"Thu, 01 Jan 1970 00:00:00 UTC",
}
# The same request once on the express path, once on the ordinary one: a query leads there.
BOTH_PATHS = pytest.mark.parametrize("query", ["", "?x=1"], ids=["express", "ordinary"])


@pytest.fixture
async def served() -> AsyncIterator[World]:
    """A listener with one model, `m`."""
    async with world() as found:
        found.models.add(TwinModel("m"))
        yield found


def error(status: int, kind: str, message: str) -> bytes:
    """The body of a refusal, as Multi Model Server prints it."""
    document = {"code": status, "type": kind, "message": message}
    return json.dumps(document, indent=2).encode() + b"\n"


@BOTH_PATHS
@pytest.mark.parametrize("path", ["/predictions/m", "/models/m/invoke", "/m/predict"])
async def test_every_path_reaches_the_model(served: World, path: str, query: str) -> None:
    """Status 200, the handler's bytes, the constant headers, an id, and no content type."""
    response = await served.ask("POST", path + query, b"hello")
    headers = dict(response.headers)
    assert (response.status, await response.read(100)) == (200, b"hello")
    assert headers.items() >= CONSTANT.items()
    assert b"content-type" not in headers
    model = served.models.find("m")
    asked = model.asked[0]
    assert model.ways == ["ordinary" if query else "express"]
    assert headers[b"x-request-id"] == asked.request_id
    assert asked.query == query[1:].encode()
    assert served.journal.accesses == [("POST", (path + query).encode(), 200)]
    assert served.journal.predictions == [("m", asked.request_id, 200)]


async def test_request_ids_differ(served: World) -> None:
    """Each request has its own id, of the form of a UUID."""
    ids = {(await served.ask("POST", "/predictions/m")).header(b"x-request-id") for _ in range(20)}
    assert len(ids) == 20
    assert {len(identity) for identity in ids} == {36}


async def test_an_answer_that_comes_later_is_sent(served: World) -> None:
    """The express path does not need the answer at once."""
    served.models.find("m").late = True
    assert await served.read("POST", "/predictions/m", b"x") == (200, b"x")


@BOTH_PATHS
async def test_the_handler_sets_status_and_headers(served: World, query: str) -> None:
    """But not the headers that are the server's or the connection's."""
    own = [
        (b"content-type", b"text/x"),
        (b"x-mine", b"1"),
        (b"pragma", b"no"),
        (b"connection", b"x"),
    ]
    served.models.find("m").answer = lambda _: Answer(201, "", own, b"made")
    response = await served.ask("POST", f"/predictions/m{query}")
    headers = dict(response.headers)
    assert (response.status, await response.read(100)) == (201, b"made")
    assert headers.items() >= {b"content-type": b"text/x", b"x-mine": b"1"}.items()
    assert headers[b"pragma"] == b"no-cache"
    assert headers.get(b"connection") != b"x"


@BOTH_PATHS
@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        (Answer(201, "Brewed\r\nx: y", [], b""), "201 Brewed x: y"),
        (Answer(201, "", [], b""), "201 Created"),
        (Answer(418, "ignored", [], b"teapot", "prediction"), "418 I'm a Teapot"),
    ],
)
async def test_the_handler_sets_the_phrase(
    served: World, outcome: Answer, line: str, query: str
) -> None:
    """It is in the status line, in one piece; without one stands the usual phrase."""
    served.models.find("m").answer = lambda _: outcome
    assert await served.status_line("POST", f"/predictions/m{query}") == f"HTTP/1.1 {line}"


@BOTH_PATHS
@pytest.mark.parametrize(
    ("outcome", "status", "body"),
    [
        (
            Answer(500, "", [], b"ValueError: no", "raised"),
            503,
            error(503, "InternalServerException", "Prediction failed: ValueError: no"),
        ),
        (
            Answer(507, "", [], b"whatever", "memory"),
            507,
            error(507, "InternalServerException", "Out of resources"),
        ),
        (
            Answer(418, "", [], b"teapot", "prediction"),
            418,
            error(418, "InternalServerException", "teapot"),
        ),
        (
            Answer(503, "", [], b"Invalid model predict output", "invalid"),
            503,
            error(503, "InternalServerException", "Invalid model predict output"),
        ),
        (
            Answer(400, "", [], b"no boundary", "input"),
            400,
            error(400, "BadRequestException", "no boundary"),
        ),
        (
            Unavailable("No worker"),
            503,
            error(503, "ServiceUnavailableException", "No worker"),
        ),
        (
            Internal("Worker died: signal 9"),
            500,
            error(500, "InternalServerException", "Worker died: signal 9"),
        ),
    ],
)
async def test_failures_are_json(
    served: World, outcome: Answer | ServerError, status: int, body: bytes, query: str
) -> None:
    """Each failure has Multi Model Server's status, type and text, whatever path it takes."""
    served.models.find("m").answer = lambda _: outcome
    response = await served.ask("POST", f"/predictions/m{query}")
    assert (response.status, await response.read(1000)) == (status, body)
    assert response.header(b"content-type") == b"application/json"
    assert dict(response.headers).items() >= CONSTANT.items()


async def test_unknown_models(served: World) -> None:
    """404 on every path."""
    expected = (404, error(404, "ModelNotFoundException", "Model not found: nosuch"))
    for path in (
        "/predictions/nosuch",
        "/models/nosuch/invoke",
        "/nosuch/predict",
        "/invocations?model_name=nosuch",
    ):
        assert await served.read("POST", path) == expected


async def test_a_model_that_goes_and_comes(served: World) -> None:
    """The express path forgets a removed model at once, and finds a new one of the same name."""
    assert await served.read("POST", "/predictions/m", b"1") == (200, b"1")
    await served.read("DELETE", "/models/m")
    assert (await served.read("POST", "/predictions/m"))[0] == 404
    served.models.add(TwinModel("m", answer=lambda _: Answer(200, "", [], b"new")))
    assert await served.read("POST", "/predictions/m") == (200, b"new")


async def test_invocations_names_its_model_in_the_query(served: World) -> None:
    """`model_name`, which the handler sees too, as with Multi Model Server."""
    assert await served.read("POST", "/invocations?model_name=m&a=b", b"x") == (200, b"x")
    assert served.models.find("m").asked[0].query == b"model_name=m&a=b"


async def test_invocations_without_a_name(served: World) -> None:
    """Goes to the only start-up model; 400 when there is none, or more than one."""
    refused = (400, error(400, "BadRequestException", "Parameter model_name is required."))
    assert await served.read("POST", "/invocations", b"x") == refused
    served.models.add(TwinModel("first", at_startup=True))
    assert await served.read("POST", "/invocations", b"x") == (200, b"x")
    assert await served.read("POST", "/models//invoke", b"y") == (200, b"y")
    assert len(served.models.find("first").asked) == 2
    served.models.add(TwinModel("second", at_startup=True))
    assert await served.read("POST", "/invocations", b"x") == refused


async def test_model_names_are_percent_decoded(served: World) -> None:
    """Also where a slash is in a name."""
    served.models.add(TwinModel("a/b ü"))
    assert (await served.read("POST", "/models/a%2Fb%20%C3%BC/invoke"))[0] == 200
    assert (await served.read("GET", "/models/a%2Fb%20%C3%BC"))[0] == 200


async def test_any_method_predicts(served: World) -> None:
    """As with Multi Model Server."""
    assert await served.read("GET", "/predictions/m") == (200, b"")
    assert await served.read("PUT", "/predictions/m", b"x") == (200, b"x")


async def test_a_chunked_body(served: World) -> None:
    """Is as good as one with a length."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    assert await served.read("POST", "/predictions/m", pieces()) == (200, b"one two")


async def test_a_body_above_the_limit() -> None:
    """413 with and without a length, on every path; one at the limit is taken."""
    async with world(max_request_size=1000) as served:
        served.models.add(TwinModel("m"))

        async def pieces() -> AsyncIterator[bytes]:
            yield b"x" * 1001

        assert (await served.read("POST", "/predictions/m", b"x" * 1000))[0] == 200
        message = "The request is larger than max_request_size: 1000 bytes."
        expected = (413, error(413, "RequestEntityTooLargeException", message))
        bodies: list[Any] = [b"x" * 1001, pieces()]
        for body in bodies:
            assert await served.read("POST", "/predictions/m", body) == expected
        assert not [one for one in served.models.find("m").asked if len(one.body) > 1000]


@BOTH_PATHS
async def test_headers_arrive(served: World, query: str) -> None:
    """With lower-case names and the values as they came; on the express path they are packed."""
    sent = [(b"content-type", b"text/x"), (b"x-amzn-sagemaker-target-model", b"a/b.tar.gz")]
    await served.read("POST", f"/models/m/invoke{query}", b"x", sent)
    headers = served.models.find("m").asked[0].headers
    if isinstance(headers, bytes):
        parts = headers.split(b"\0")[1:]
        headers = list(zip(parts[::2], parts[1::2], strict=True))
    assert set(sent) <= set(headers)


async def test_many_at_once_get_their_own_answers(served: World) -> None:
    """No answer goes to another's request."""
    model = served.models.find("m")
    model.late = True
    answers = await asyncio.gather(
        *(served.read("POST", "/predictions/m", b"%d" % number) for number in range(50))
    )
    assert answers == [(200, b"%d" % number) for number in range(50)]


async def test_a_client_that_leaves(served: World) -> None:
    """Is seen to be gone by the model, and an answer that comes all the same harms nobody."""
    waiting: asyncio.Queue[Any] = asyncio.Queue()

    class Slow(TwinModel):
        def submit(self, invocation: Invocation, done: Any, gone: Any) -> None:
            waiting.put_nowait((done, gone))

    served.models.add(Slow("slow"))
    _, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"POST /predictions/slow HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
    async with asyncio.timeout(30):
        done, gone = await waiting.get()
        assert not gone()
        writer.close()
        while not gone():  # noqa: ASYNC110  (it has no event)
            await asyncio.sleep(0.01)
    done(Answer(200, "", [], b"late"))
    assert await served.read("POST", "/predictions/m", b"x") == (200, b"x")


async def test_a_bug_is_answered(served: World, caplog: pytest.LogCaptureFixture) -> None:
    """500 that tells nothing of the inside; the log has the traceback."""

    def broken(_: Invocation) -> Answer:
        raise RuntimeError("inside")

    served.models.find("m").answer = broken
    status, body = await served.read("POST", "/predictions/m?x=1")
    assert status == 500
    assert b"inside" not in body
    assert "inside" in caplog.text


@pytest.mark.parametrize(
    ("health", "status", "text"),
    [
        (Health.STARTING, 503, "Starting"),
        (Health.HEALTHY, 200, "Healthy"),
        (Health.PARTIAL, 200, "Partial Healthy"),
        (Health.UNHEALTHY, 503, "Unhealthy"),
    ],
)
async def test_ping(served: World, health: Health, status: int, text: str) -> None:
    """Tells by its status whether requests should come here, to GET and POST."""
    served.models.state_of_health = health
    for method in ("GET", "POST"):
        body = json.dumps({"status": text}, indent=2).encode() + b"\n"
        assert await served.read(method, "/ping") == (status, body)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/predictions", 404),
        ("POST", "/predict", 404),
        ("GET", "/nosuch/at/all", 404),
        ("POST", "/models/m/other", 404),
        ("POST", "/models/m/invoke/more", 404),
        ("POST", "/invocations/m", 404),
        ("GET", "/", 405),
        ("PATCH", "/models", 405),
        ("POST", "/models/m", 405),
        ("POST", "/metrics", 405),
        ("OPTIONS", "/models", 405),
    ],
)
async def test_what_is_not_there(served: World, method: str, path: str, status: int) -> None:
    """404 for paths, 405 for methods, in Multi Model Server's words."""
    kind, what = {
        404: ("ResourceNotFoundException", "resource is not found"),
        405: ("MethodNotAllowedException", "method is not allowed"),
    }[status]
    message = f"Requested {what}, please refer to API document."
    assert await served.read(method, path) == (status, error(status, kind, message))


async def test_metrics(served: World) -> None:
    """The journal's, as Prometheus reads them."""
    response = await served.ask("GET", "/metrics")
    assert response.header(b"content-type").startswith(b"text/plain; version=0.0.4")
    assert await response.read(1000) == b"modelplex_server_models 1\n"


async def test_two_listeners_serve_their_own() -> None:
    """The inference listener knows no management, and the other way round; both answer pings."""
    async with world(management=False) as inference, world(inference=False) as management:
        for served in (inference, management):
            served.models.add(TwinModel("m"))
            assert (await served.read("GET", "/ping"))[0] == 200
            assert (await served.read("GET", "/metrics"))[0] == 200
        assert (await inference.read("GET", "/models"))[0] == 404
        assert (await inference.read("POST", "/models/m/invoke"))[0] == 200
        assert (await management.read("GET", "/models"))[0] == 200
        assert (await management.read("POST", "/models/m/invoke"))[0] == 404
        assert (await management.read("POST", "/predictions/m"))[0] == 404
