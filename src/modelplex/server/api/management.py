"""The management API: register, scale, describe, list and unregister models."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from typing import Any

from modelplex.http.messages import Request, Response
from modelplex.server.api.answers import json_response
from modelplex.server.api.parameters import Parameters
from modelplex.server.errors import BadRequest
from modelplex.server.serving.models import Model, Models, Order, Registered
from modelplex.server.serving.staff import WorkerRow

_PAGE_MAX = 100  # models listed at once, as Multi Model Server; more asked for: so many
_BATCH_MAX = 65_536
_BATCH_DELAY_MAX_MS = 3_600_000
_WORKERS_MAX = 1_000  # of one model
_RESPONSE_TIMEOUT_MAX_S = 7 * 86_400
_RUNTIMES = ("", "python", "python3")
_TOKEN = "after:"  # what a page token says before the name that it continues after

_SAID = {  # of Registered.state: status, its phrase ("": the usual one), text
    "scaled": (200, "", "Workers scaled"),
    "processing": (202, "", "Processing worker updates..."),
    "partial": (210, "Partial Success", "Workers scaling in progress..."),
}


class Management:
    """The operations on `models`, each from a request to its answer. They raise ServerError."""

    def __init__(self, models: Models, body_bytes_max: int) -> None:
        self._models = models
        self._body_bytes_max = body_bytes_max

    async def register(self, request: Request) -> Response:
        """`POST /models`, with parameters in the query or, as JSON, in the body."""
        kind = request.header(b"content-type").partition(b";")[0].strip().lower()
        if kind == b"application/json":
            parameters = Parameters.of_json(await request.body.read(self._body_bytes_max))
        else:
            parameters = Parameters.of_query(request.query)
        return _said(await self._models.register(_order(parameters)))

    async def scale(self, request: Request, name: str) -> Response:
        """`PUT /models/{name}`."""
        parameters = Parameters.of_query(request.query)
        least = parameters.whole("min_worker", 1, 0, _WORKERS_MAX)
        most = parameters.whole_or_none("max_worker", 0, _WORKERS_MAX)
        if most is not None and most < least:
            raise BadRequest("max_worker cannot be less than min_worker.")
        synchronous = parameters.flag("synchronous", False)
        return _said(await self._models.scale(name, least, most, synchronous))

    async def unregister(self, name: str) -> Response:
        """`DELETE /models/{name}`: answers when the model and what it held are gone."""
        await self._models.unregister(name)
        return json_response(200, {"status": f'Model "{name}" unregistered'})

    async def describe(self, name: str) -> Response:
        """`GET /models/{name}`. Measuring a large worker's memory takes milliseconds."""
        model = self._models.find(name)
        rows = await asyncio.to_thread(model.rows)
        return json_response(200, _description(model, rows))

    def page(self, request: Request) -> Response:
        """`GET /models`: a page of names and URLs; a token only if there is more."""
        parameters = Parameters.of_query(request.query)
        limit = min(_PAGE_MAX, parameters.whole("limit", _PAGE_MAX, 1, 1_000_000))
        after = _name_of(parameters.text("next_page_token"))
        models, following = self._models.page(limit, after)
        document: dict[str, Any] = {"nextPageToken": _token(following)} if following else {}
        document["models"] = [{"modelName": m.name, "modelUrl": m.url} for m in models]
        return json_response(200, document)


def _order(parameters: Parameters) -> Order:
    url = parameters.text("url")
    if not url:
        raise BadRequest("Parameter url is required.")
    runtime = parameters.text("runtime").lower()
    if runtime not in _RUNTIMES:
        raise BadRequest(f"Parameter runtime must be python or python3, not {runtime!r}.")
    return Order(
        url=url,
        model_name=parameters.text("model_name"),
        handler=parameters.text("handler"),
        runtime=runtime,
        batch_size=parameters.whole("batch_size", 1, 1, _BATCH_MAX),
        max_batch_delay_s=parameters.whole("max_batch_delay", 100, 0, _BATCH_DELAY_MAX_MS) / 1000,
        initial_workers=parameters.whole_or_none("initial_workers", 0, _WORKERS_MAX),
        response_timeout_s=parameters.whole_or_none("response_timeout", 1, _RESPONSE_TIMEOUT_MAX_S),
        preload=parameters.flag_or_none("preload_model"),
        synchronous=parameters.flag("synchronous", True),
    )


def _said(registered: Registered) -> Response:
    named = (200, "", f'Model "{registered.name}" registered')
    status, phrase, text = _SAID.get(registered.state, named)
    return json_response(status, {"status": text}, phrase)


def _description(model: Model, rows: list[WorkerRow]) -> dict[str, Any]:
    """The members of Multi Model Server in its order, what is unknown left out, and `status`."""
    document = {
        "modelName": model.name,
        "modelVersion": model.version,
        "modelUrl": model.url,
        "engine": model.engine,
        "runtime": model.runtime,
        "minWorkers": model.min_workers,
        "maxWorkers": model.max_workers,
        "batchSize": model.batch_size,
        "maxBatchDelay": round(model.max_batch_delay_s * 1000),
        "status": model.state.name,
        "loadedAtStartup": model.at_startup,
        "workers": [_worker(row) for row in rows],
    }
    return {name: value for name, value in document.items() if value != ""}


def _worker(row: WorkerRow) -> dict[str, Any]:
    began = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(row.started_at))
    return {
        "id": str(row.id),
        "startTime": f"{began}.{int(row.started_at % 1 * 1000):03d}Z",
        "status": row.status,
        "gpu": row.gpu,
        "memoryUsage": row.memory_bytes,
    }


def _token(name: str) -> str:
    return base64.urlsafe_b64encode(f"{_TOKEN}{name}".encode()).decode()


def _name_of(token: str) -> str:
    """The name in a page token; BadRequest for anything that is none of ours."""
    if not token:
        return ""
    try:
        text = base64.b64decode(token.encode("ascii"), b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError):
        text = ""
    if not text.startswith(_TOKEN):
        raise BadRequest(f"Parameter next_page_token is not a token of this server: {token[:200]}.")
    return text.removeprefix(_TOKEN)
