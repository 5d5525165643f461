"""The contract as seen on the wire: our server beside Multi Model Server 1.1.11, row by row.

Where the two differ on purpose a test names both answers, and its docstring the reason.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelplex.check.outcomes import Failed
from modelplex.check.wire import Answer
from tests.support.servers import JSON, Server, lifetime
from tests.support.waiting import eventually

BOTH = ["modelplex", pytest.param("mms", marks=pytest.mark.mms)]
QUEUE = 1


@pytest.fixture(scope="module", params=BOTH)
def running(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Server]:
    server = Server(request.param, tmp_path_factory.mktemp("server"), job_queue_size=str(QUEUE))
    yield from lifetime(server)


@pytest.fixture
async def server(running: Server) -> Any:
    """The shared server, without models before and after."""
    await running.empty()
    yield running
    await running.empty()


@pytest.fixture(params=BOTH)
def own_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server for one test, with MMS's own default for decode_input_request."""
    yield from lifetime(Server(request.param, tmp_path, decode_input_request="true"))


def said(answer: Answer, status: int, kind: str, message: str) -> None:
    """Assert an error's status, and the three members of its body."""
    assert answer.status == status, answer.story
    assert answer.document() == {"code": status, "type": kind, "message": message}


def did(answer: Answer, text: str, status: int = 200) -> None:
    """Assert a success and its body, to the byte."""
    assert answer.status == status, answer.story
    assert answer.body == b'{\n  "status": %s\n}\n' % json.dumps(text).encode()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds; TimeoutError after half a minute."""
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110  (it asks a server)
            await asyncio.sleep(0.02)


async def registered(server: Server, name: str) -> bool:
    """Whether a model takes requests; MMS refuses them until it has started a worker."""
    answer = await server.call("GET", f"/models/{name}")
    return answer.status == 200 and (
        server.kind == "modelplex" or bool(answer.document()["workers"])
    )


async def answers(server: Server, name: str) -> bool:
    """Whether a model answers."""
    return (await server.invoke(name, "hello")).status == 200


# -- loading -----------------------------------------------------------------------------------


async def test_load(server: Server) -> None:
    """A load is 200 when the model is ready; without workers it is only registered."""
    did(await server.load("m"), "Workers scaled")
    did(await server.load("none", initial_workers=0), 'Model "none" registered')


async def test_load_again(server: Server) -> None:
    """A name can be loaded once."""
    await server.load("m")
    again = await server.load("m")
    said(again, 409, "ConflictStatusException", "Model m is already registered.")


async def test_four_loads_at_once(server: Server) -> None:
    """One of simultaneous loads of a name succeeds."""
    answers = await asyncio.gather(*(server.load("m") for _ in range(4)))
    assert sorted(each.status for each in answers) == [200, 409, 409, 409]


async def test_load_of_nothing(server: Server) -> None:
    """What is not there, and what points out of the store, is not found."""
    kind = "ModelNotFoundException"
    missing = await server.call("POST", "/models?model_name=m&url=/banana")
    said(missing, 404, kind, "Model not found in model store: /banana")
    outside = await server.call("POST", "/models?model_name=m&url=../x")
    said(outside, 404, kind, "Relative path is not allowed in url: ../x")


async def test_load_without_url_or_name(server: Server) -> None:
    """The url is required; the name may come from the manifest, and this one has none."""
    no_url = await server.call("POST", "/models?model_name=m")
    said(no_url, 400, "BadRequestException", "Parameter url is required.")
    no_name = await server.call("POST", f"/models?url={server.model()}")
    said(no_name, 400, "InvalidModelException", "Model name is not defined.")


@pytest.mark.parametrize("body", [b'{"model_name": ', b"", b"[]"])
async def test_bad_json(server: Server, body: bytes) -> None:
    """A body that is no order is the client's fault: 400, where MMS says 500."""
    answer = await server.call("POST", "/models", body, JSON)
    assert answer.status == server.either(ours=400, theirs=500)


async def test_garbage_archive(server: Server) -> None:
    """A file that is no archive is refused; MMS takes it for an empty model."""
    (server.folder / "x.mar").write_bytes(b"this is no archive")
    answer = await server.call("POST", f"/models?model_name=m&url={server.folder / 'x.mar'}")
    assert answer.status == server.either(ours=400, theirs=200)
    if server.kind == "modelplex":
        assert answer.document()["type"] == "InvalidModelException"


async def test_load_from_http_that_fails(server: Server) -> None:
    """Nobody listens there; ours would not even ask, for its allow-list is closed by default."""
    answer = await server.call("POST", "/models?model_name=m&url=http://127.0.0.1:1/x.mar")
    assert (answer.status, answer.document()["type"]) == (400, "DownloadModelException")


async def test_memory_error_at_load(server: Server) -> None:
    """507, and ours leaves nothing; MMS mostly keeps the model until DELETE, or longer."""
    answer = await server.load("hungry", "memory")
    assert (answer.status, answer.document()["type"]) == (507, "InternalServerException")
    assert answer.document()["message"].startswith("Failed to start workers")
    if server.kind == "modelplex":
        assert (await server.call("GET", "/models")).document() == {"models": []}
        did(await server.load("hungry"), "Workers scaled")


async def test_other_error_at_load(server: Server) -> None:
    """500, and the model is removed; ours says why in the message."""
    answer = await server.load("broken", "raise")
    assert (answer.status, answer.document()["type"]) == (500, "InternalServerException")
    assert answer.document()["message"].startswith("Failed to start workers")
    if server.kind == "modelplex":
        assert "asked to" in answer.document()["message"]


@pytest.mark.parametrize(("how", "status"), [("memory", 507), ("raise", 500)])
async def test_errors_at_load_of_a_class(server: Server, how: str, status: int) -> None:
    """A class's errors count as a function's do; MMS swallows them, so a platform gets no 507."""
    answer = await server.load(f"class-{how}", how, style="class")
    assert answer.status == server.either(ours=status, theirs=200)


async def test_invoke_while_loading(server: Server) -> None:
    """A request for a model that is loading waits, and is answered when it is ready."""
    loading = asyncio.ensure_future(server.load("m", "0.7"))
    await until(lambda: registered(server, "m"))
    answer = await server.invoke("m", "early")
    assert (answer.status, answer.body) == (200, b"early")
    assert (await loading).status == 200


# -- looking -----------------------------------------------------------------------------------


async def test_list(server: Server) -> None:
    """Sorted by name, in pages; ours has no empty page at the end, where MMS has one."""
    for name in ("b", "c", "a", "d"):
        await server.load(name, initial_workers=0)
    url = str(server.model())
    everything = {"models": [{"modelName": name, "modelUrl": url} for name in "abcd"]}
    assert (await server.call("GET", "/models")).document() == everything
    pages, token = [], ""
    while token is not None:
        query = f"limit=2&next_page_token={token}" if token else "limit=2"
        page = (await server.call("GET", f"/models?{query}")).document()
        pages.append([each["modelName"] for each in page["models"]])
        token = page.get("nextPageToken")
    expected = [["a", "b"], ["c", "d"]]
    assert pages == server.either(ours=expected, theirs=[*expected, []])


async def test_describe(server: Server) -> None:
    """MMS's members; ours adds a status, which tells a loading model from a ready one."""
    await server.load("m")
    found = (await server.call("GET", "/models/m")).document()
    (worker,) = found.pop("workers")
    assert set(worker) >= {"id", "startTime", "status", "gpu", "memoryUsage"}
    assert worker["status"] == "READY"
    assert found == {
        "modelName": "m",
        "modelUrl": str(server.model()),
        "runtime": "python",
        "minWorkers": 1,
        "maxWorkers": 1,
        "batchSize": 1,
        "maxBatchDelay": 100,
        "loadedAtStartup": False,
        **server.either(ours={"status": "READY"}, theirs={}),
    }


@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", "/models/nosuch"), ("DELETE", "/models/nosuch"), ("POST", "/models/nosuch/invoke")],
)
async def test_unknown_model(server: Server, method: str, target: str) -> None:
    """Describe, delete and invoke say the same of a model that is not there."""
    answer = await server.call(method, target)
    said(answer, 404, "ModelNotFoundException", "Model not found: nosuch")


async def test_scale(server: Server) -> None:
    """PUT answers at once, or when the workers are there."""
    await server.load("m")
    did(
        await server.call("PUT", "/models/m?min_worker=2"),
        "Processing worker updates...",
        status=202,
    )
    did(await server.call("PUT", "/models/m?min_worker=2&synchronous=true"), "Workers scaled")
    workers = (await server.call("GET", "/models/m")).document()["workers"]
    assert [each["status"] for each in workers] == ["READY", "READY"]


async def test_bad_path_and_method(server: Server) -> None:
    """Their texts lead to the API document."""
    kinds = {404: "ResourceNotFoundException", 405: "MethodNotAllowedException"}
    path = await server.call("GET", "/banana")
    text = "Requested resource is not found, please refer to API document."
    said(path, 404, kinds[404], text)
    method = await server.call("PATCH", "/models")
    text = "Requested method is not allowed, please refer to API document."
    said(method, 405, kinds[405], text)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_ping(server: Server, method: str) -> None:
    """Healthy, whatever the method."""
    did(await server.call(method, "/ping"), "Healthy")


# -- invoking ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "body"),
    [("text", b"text"), ("bytes", b"\0\xff"), ("json", b'{\n  "b": [\n    1,\n    2\n  ]\n}')],
)
async def test_invoke(server: Server, order: str, body: bytes) -> None:
    """Bytes and strings as they are, other values as JSON; no content type but the handler's."""
    await server.load("m")
    answer = await server.invoke("m", order)
    assert (answer.status, answer.body) == (200, body)
    assert b"content-type" not in dict(answer.headers)


async def test_headers_of_answers(server: Server) -> None:
    """Every answer forbids caching and has a request id."""
    headers = dict((await server.call("GET", "/models")).headers)
    assert headers[b"pragma"] == b"no-cache"
    assert headers[b"cache-control"] == b"no-cache; no-store, must-revalidate, private"
    assert headers[b"expires"] == b"Thu, 01 Jan 1970 00:00:00 UTC"
    assert headers[b"content-type"] == b"application/json"
    assert len(headers[b"x-request-id"]) == 36


async def test_the_handler_sets_status_and_headers(server: Server) -> None:
    """Status, headers and content type of the context reach the client."""
    await server.load("m")
    answer = await server.invoke("m", "status")
    headers = dict(answer.headers)
    assert (answer.status, headers[b"x-mine"], headers[b"content-type"]) == (
        201,
        b"yes",
        b"text/mine",
    )


@pytest.mark.parametrize(
    ("order", "status", "message"),
    [
        ("raise", 503, "Prediction failed"),
        ("memory", 507, "Out of resources"),
        ("prediction", 418, "a teapot"),
        ("none", 503, "Invalid model predict output"),
        ("two", 503, "number of batch response mismatched"),
    ],
)
async def test_failing_handlers(server: Server, order: str, status: int, message: str) -> None:
    """The ways to fail, and that the model goes on; ours adds to the text what was raised."""
    await server.load("m")
    answer = await server.invoke("m", order)
    assert (answer.status, answer.document()["type"]) == (status, "InternalServerException")
    assert answer.document()["message"].startswith(message)
    assert (await server.invoke("m", "next")).body == b"next"


async def test_a_worker_that_dies(server: Server) -> None:
    """Its request fails at once, and later ones are answered by its successor."""
    await server.load("m")
    answer = await server.invoke("m", "exit")
    assert (answer.status, answer.document()["type"]) == (500, "InternalServerException")
    assert answer.document()["message"].startswith("Worker died")
    await until(lambda: answers(server, "m"))


async def test_a_full_queue(server: Server) -> None:
    """One request runs, some wait, the others are told at once."""
    await server.load("m")
    answers = await asyncio.gather(*(server.invoke("m", "sleep") for _ in range(QUEUE + 4)))
    refused = [each for each in answers if each.status != 200]
    assert len(refused) in (3, 4)  # MMS's worker thread takes the next one before it is done
    for each in refused:
        text = (
            "No worker is available to serve request for model: m. "
            "Consider increasing job queue size."
        )
        said(each, 503, "ServiceUnavailableException", text)


async def test_other_paths_to_a_model(server: Server) -> None:
    """MMS's own and legacy paths lead to the same handler."""
    await server.load("m")
    for target in ("/predictions/m", "/invocations?model_name=m", "/m/predict"):
        answer = await server.call("POST", target, b"hello")
        assert (answer.status, answer.body) == (200, b"hello"), target


async def test_query_and_forms(server: Server) -> None:
    """Query parameters and form fields are further members of a row."""
    await server.load("m")
    query = await server.call("POST", "/models/m/invoke?a=1&b=2", b"row")
    assert json.loads(query.body) == {"a": "1", "b": "2"}
    kind = {"content-type": "application/x-www-form-urlencoded"}
    urlencoded = await server.call("POST", "/models/m/invoke", b"body=row&a=x%20y", kind)
    assert json.loads(urlencoded.body) == {"a": "x y"}
    parts = "".join(
        f'--X\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'
        for name, text in (("body", "row"), ("a", "1"))
    )
    kind = {"content-type": "multipart/form-data; boundary=X"}
    multipart = await server.call("POST", "/models/m/invoke", f"{parts}--X--\r\n".encode(), kind)
    assert json.loads(multipart.body) == {"a": "1"}


async def test_bodies_are_bytes(server: Server) -> None:
    """With the toolkit's settings the handler gets what was sent."""
    await server.load("m")
    answer = await server.invoke("m", "types", headers=JSON)
    assert json.loads(answer.body) == {"body": "bytearray"}


async def test_bodies_are_decoded(own_server: Server) -> None:
    """With MMS's default settings JSON arrives as objects and text as str."""
    await own_server.load("m")
    document = await own_server.invoke("m", '{"a": 1}', headers=JSON)
    assert json.loads(document.body) == {"body": "dict"}
    text = await own_server.invoke("m", "types", headers={"content-type": "text/plain"})
    assert json.loads(text.body) == {"body": "str"}


# -- ending ------------------------------------------------------------------------------------


async def test_delete(server: Server) -> None:
    """The model is gone when DELETE answers."""
    await server.load("m0")
    did(await server.call("DELETE", "/models/m0"), 'Model "m0" unregistered')
    assert (await server.invoke("m0", "x")).status == 404


async def test_delete_while_busy(server: Server, tmp_path: Path) -> None:
    """Ours finishes what it accepted; in MMS the running one fails and the queued never ends."""
    await server.load("m")
    running = asyncio.ensure_future(server.invoke("m", f"hold {tmp_path}"))
    await eventually((tmp_path / "held").exists)
    limit_s = server.either(ours=20, theirs=2)
    queued = asyncio.ensure_future(server.invoke("m", "queued", limit_s=limit_s))
    await asyncio.sleep(0.3)
    deleting = asyncio.ensure_future(server.call("DELETE", "/models/m"))
    if server.kind == "modelplex":
        await asyncio.wait([deleting], timeout=0.3)
        assert not deleting.done()
        (tmp_path / "go").touch()
    did(await deleting, 'Model "m" unregistered')
    assert (await running).status == server.either(ours=200, theirs=500)
    if server.kind == "modelplex":
        assert (await queued).body == b"queued"
    else:
        with pytest.raises(Failed, match="not answered within 2 s"):
            await queued


async def test_sigterm(own_server: Server) -> None:
    """Ours leaves no process; MMS orphans its workers."""
    await own_server.load("m")
    own_server.command.terminate()
    assert await own_server.command.ended() is not None
    left = await own_server.command.leftovers()
    assert bool(left) == own_server.either(ours=False, theirs=True), left
