"""The management API over HTTP, against an in-memory registry."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from modelplex.server.errors import Conflict, OutOfResources
from modelplex.server.serving.models import Order
from modelplex.server.serving.staff import WorkerRow
from tests.server.twins import TwinModel, World, world

JSON = [(b"content-type", b"application/json; charset=utf-8")]


@pytest.fixture
async def served() -> AsyncIterator[World]:
    """A listener without models."""
    async with world() as found:
        yield found


async def call(
    served: World, method: str, target: str, body: bytes = b"", headers: Any = None
) -> tuple[int, Any]:
    """Status and JSON of an answer, which always ends with a line end."""
    status, answer = await served.read(method, target, body, headers)
    assert answer.endswith(b"\n")
    return status, json.loads(answer)


async def test_register_by_query(served: World) -> None:
    """Every parameter of the query form arrives, times in seconds."""
    target = (
        "/models?url=a%2Fb.mar&model_name=m&handler=h.py%3Ahandle&runtime=python3&batch_size=4"
        "&max_batch_delay=250&initial_workers=2&synchronous=true&response_timeout=30"
        "&preload_model=TRUE&unknown=1"
    )
    assert await call(served, "POST", target) == (200, {"status": "Workers scaled"})
    assert served.models.orders == [
        Order(
            url="a/b.mar",
            model_name="m",
            handler="h.py:handle",
            runtime="python3",
            batch_size=4,
            max_batch_delay_s=0.25,
            initial_workers=2,
            response_timeout_s=30,
            preload=True,
            synchronous=True,
        )
    ]


async def test_register_by_json(served: World) -> None:
    """The body counts, the query does not; numbers may be texts and null is absence."""
    body = {
        "url": "/m",
        "model_name": "m",
        "batch_size": "4",
        "initial_workers": 0,
        "response_timeout": 30.0,
        "preload_model": "false",
        "synchronous": False,
        "handler": None,
    }
    status, _ = await call(served, "POST", "/models?url=/n", json.dumps(body).encode(), JSON)
    assert status == 200
    assert served.models.orders == [
        Order(
            url="/m",
            model_name="m",
            batch_size=4,
            initial_workers=0,
            response_timeout_s=30,
            preload=False,
            synchronous=False,
        )
    ]


async def test_register_with_nothing_but_a_url(served: World) -> None:
    """Everything else is left to the configuration."""
    await call(served, "POST", "/models?url=/m")
    assert served.models.orders == [Order(url="/m")]


@pytest.mark.parametrize(
    ("state", "status", "text"),
    [
        ("scaled", 200, "Workers scaled"),
        ("registered", 200, 'Model "m" registered'),
        ("processing", 202, "Processing worker updates..."),
        ("partial", 210, "Workers scaling in progress..."),
    ],
)
async def test_what_came_of_it(served: World, state: str, status: int, text: str) -> None:
    """Registering and scaling say how far they came, in Multi Model Server's words."""
    served.models.state = state
    expected = (status, {"status": text})
    assert await call(served, "POST", "/models?url=/m&model_name=m") == expected
    assert await call(served, "PUT", "/models/m?min_worker=2") == expected


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"5", b'"x"', b"\xff", b"[" * 100_000])
async def test_bodies_that_are_no_parameters(served: World, body: bytes) -> None:
    """400 instead of Multi Model Server's 500."""
    status, document = await call(served, "POST", "/models", body, JSON)
    assert (status, document["code"], document["type"]) == (400, 400, "BadRequestException")
    assert document["message"].startswith("The body ")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "Parameter url is required."),
        ({"url": ""}, "Parameter url is required."),
        ({"url": 5}, "Parameter url must be a text, not 5."),
        ({"url": "/m", "model_name": ["x"]}, 'Parameter model_name must be a text, not ["x"].'),
        (
            {"url": "/m", "model_name": "a\ud800"},
            "Parameter model_name must be at most 4096 characters, none of them a control"
            ' character, not "a\\ud800".',
        ),
        (
            {"url": "/m", "batch_size": 0},
            "Parameter batch_size must be a whole number from 1 to 65536, not 0.",
        ),
        (
            {"url": "/m", "batch_size": True},
            "Parameter batch_size must be a whole number from 1 to 65536, not true.",
        ),
        (
            {"url": "/m", "initial_workers": 1.5},
            "Parameter initial_workers must be a whole number from 0 to 1000, not 1.5.",
        ),
        (
            {"url": "/m", "response_timeout": "2m"},
            'Parameter response_timeout must be a whole number from 1 to 604800, not "2m".',
        ),
        (
            {"url": "/m", "synchronous": "yes"},
            'Parameter synchronous must be true or false, not "yes".',
        ),
        (
            {"url": "/m", "runtime": "python2"},
            "Parameter runtime must be python or python3, not 'python2'.",
        ),
    ],
)
async def test_parameters_that_cannot_be_used(
    served: World, values: dict[str, Any], message: str
) -> None:
    """400 that names the parameter and the value."""
    status, document = await call(served, "POST", "/models", json.dumps(values).encode(), JSON)
    assert (status, document["message"]) == (400, message)
    assert not served.models.orders


@pytest.mark.parametrize("query", ["batch_size=many", "max_batch_delay=-1", "initial_workers="])
async def test_parameters_of_the_query_are_checked_too(served: World, query: str) -> None:
    """Multi Model Server takes the default in silence; here the caller hears of it."""
    status, document = await call(served, "POST", f"/models?url=/m&{query}")
    assert status == 400
    assert query.partition("=")[0] in document["message"]


async def test_a_text_without_end(served: World) -> None:
    """Is refused, and not repeated at full length."""
    body = json.dumps({"url": "x" * 1_000_000}).encode()
    status, document = await call(served, "POST", "/models", body, JSON)
    assert status == 400
    assert len(document["message"]) < 1000


async def test_refusals_of_the_registry(served: World) -> None:
    """Keep their status and type."""
    served.models.failure = OutOfResources("Failed to start workers: no memory")
    assert await call(served, "POST", "/models?url=/m") == (
        507,
        {
            "code": 507,
            "type": "InternalServerException",
            "message": "Failed to start workers: no memory",
        },
    )
    served.models.failure = Conflict("Model m is already registered.")
    assert (await call(served, "POST", "/models?url=/m"))[0] == 409


async def test_partial_success(served: World) -> None:
    """A status without a name of its own has Multi Model Server's phrase."""
    served.models.add(TwinModel("m"))
    served.models.state = "partial"
    assert await served.status_line("PUT", "/models/m") == "HTTP/1.1 210 Partial Success"


async def test_scale(served: World) -> None:
    """One worker unless it says more; asynchronous unless it says otherwise."""
    served.models.add(TwinModel("m"))
    await call(served, "PUT", "/models/m")
    await call(served, "PUT", "/models/m?min_worker=2&max_worker=3&synchronous=true")
    assert served.models.scaled == [("m", 1, None, False), ("m", 2, 3, True)]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("min_worker=3&max_worker=2", "max_worker cannot be less than min_worker."),
        ("max_worker=0", "max_worker cannot be less than min_worker."),
        ("min_worker=x", 'Parameter min_worker must be a whole number from 0 to 1000, not "x".'),
        ("synchronous=1", 'Parameter synchronous must be true or false, not "1".'),
    ],
)
async def test_scaling_that_cannot_be(served: World, query: str, message: str) -> None:
    """400 that says why."""
    served.models.add(TwinModel("m"))
    status, document = await call(served, "PUT", f"/models/m?{query}")
    assert (status, document["message"]) == (400, message)


async def test_describe(served: World) -> None:
    """Multi Model Server's members in its order, and the state; what is unknown is left out."""
    row = WorkerRow("9000", 1_700_000_000.25, "READY", False, 5_000_000, 4242)
    served.models.add(TwinModel("m", url="/opt/m", version="", workers=[row]))
    status, document = await call(served, "GET", "/models/m")
    assert status == 200
    assert list(document.items()) == [
        ("modelName", "m"),
        ("modelUrl", "/opt/m"),
        ("runtime", "python"),
        ("minWorkers", 1),
        ("maxWorkers", 1),
        ("batchSize", 1),
        ("maxBatchDelay", 100),
        ("status", "READY"),
        ("loadedAtStartup", False),
        (
            "workers",
            [
                {
                    "id": "9000",
                    "startTime": "2023-11-14T22:13:20.250Z",
                    "status": "READY",
                    "gpu": False,
                    "memoryUsage": 5_000_000,
                }
            ],
        ),
    ]


async def test_unregister(served: World) -> None:
    """Says so; a second time there is nothing to remove."""
    served.models.add(TwinModel("m"))
    done = (200, {"status": 'Model "m" unregistered'})
    assert await call(served, "DELETE", "/models/m") == done
    assert (await call(served, "DELETE", "/models/m"))[0] == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_models_that_are_not_there(served: World, method: str) -> None:
    """404 in Multi Model Server's words."""
    message = "Model not found: nosuch"
    assert await call(served, method, "/models/nosuch") == (
        404,
        {"code": 404, "type": "ModelNotFoundException", "message": message},
    )


async def test_an_empty_list(served: World) -> None:
    """Has a list, and no token."""
    assert await call(served, "GET", "/models") == (200, {"models": []})


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 6])
async def test_pages(served: World, count: int) -> None:
    """Every model comes once, in order, and no page is empty but the first."""
    names = [f"m{number}" for number in range(count)]
    for name in reversed(names):
        served.models.add(TwinModel(name, url=f"/{name}"))
    found, token = [], ""
    while True:
        _, document = await call(served, "GET", f"/models?limit=2&next_page_token={token}")
        assert document["models"] or not names
        found += document["models"]
        token = document.get("nextPageToken", "")
        if not token:
            break
    assert found == [{"modelName": name, "modelUrl": f"/{name}"} for name in names]


async def test_a_page_has_at_most_100(served: World) -> None:
    """Whatever is asked for."""
    for number in range(101):
        served.models.add(TwinModel(f"m{number}"))
    for target in ("/models", "/models?limit=100", "/models?limit=1000"):
        _, document = await call(served, "GET", target)
        assert len(document["models"]) == 100
        assert document["nextPageToken"]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=x",
        "next_page_token=x",
        "next_page_token=-1",
        "next_page_token=YWJj",
        "next_page_token=%C3%BC",
    ],
)
async def test_bad_pages(served: World, query: str) -> None:
    """400 that names the parameter."""
    status, document = await call(served, "GET", f"/models?{query}")
    assert (status, document["type"]) == (400, "BadRequestException")
    assert query.partition("=")[0] in document["message"]
