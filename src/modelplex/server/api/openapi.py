"""OpenAPI 3.0.1 descriptions of the server's APIs and of single models, as plain documents."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

Json = dict[str, Any]


def document(*, inference: bool, management: bool) -> Json:
    """The description of what one listener serves."""
    paths = dict(_COMMON)
    if inference:
        paths |= _INFERENCE
    if management:
        paths |= _MANAGEMENT
    return _document("Model Serving APIs", paths)


def model_document(name: str) -> Json:
    """The description of one model's own path."""
    post = _operation(
        re.sub(r"\W", "_", f"predict_{name}"),
        f"Predicts with the model {name}.",
        _PREDICTED,
        body=_BINARY_BODY,
    )
    path = f"/predictions/{quote(name, safe='')}"
    return _document(f"RESTful API for: {name}", {path: {"post": post}})


def _document(title: str, paths: Json) -> Json:
    return {"openapi": "3.0.1", "info": {"title": title, "version": "1.0.0"}, "paths": paths}


def _text(description: str) -> Json:
    return {"type": "string", "description": description}


def _whole(description: str) -> Json:
    return {"type": "integer", "description": description}


def _object(required: Json, optional: Json | None = None) -> Json:
    properties = required | (optional or {})
    return {"type": "object", "required": list(required), "properties": properties}


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


_ERROR = _object(
    {
        "code": _whole("The HTTP status."),
        "type": _text("The kind of error."),
        "message": _text("What was wrong."),
    }
)
_STATUS = _json(_object({"status": _text("What was done, or how things are.")}))
_ERRORS = {
    400: "A parameter or the body cannot be used",
    404: "Model not found",
    408: "Requests under way did not end in time",
    409: "A model of that name is registered already",
    413: "The request is too large",
    500: "A worker cannot be started, or died",
    503: "No worker is available, or the handler failed",
    507: "Not enough memory",
}


def _operation(
    name: str,
    description: str,
    responses: Json,
    *errors: int,
    parameters: tuple[Json, ...] = (),
    body: Json | None = None,
) -> Json:
    refusals = {
        str(status): {"description": _ERRORS[status], "content": _json(_ERROR)} for status in errors
    }
    operation: Json = {"operationId": name, "description": description}
    if parameters:
        operation["parameters"] = list(parameters)
    if body is not None:
        operation["requestBody"] = body
    return operation | {"responses": responses | refusals}


def _ok(description: str, content: Json) -> Json:
    return {"200": {"description": description, "content": content}}


def _query(name: str, kind: str, description: str, **schema: Any) -> Json:
    return {
        "in": "query",
        "name": name,
        "description": description,
        "schema": {"type": kind, **schema},
    }


_NAME: Json = {
    "in": "path",
    "name": "model_name",
    "required": True,
    "description": "Name of the model.",
    "schema": {"type": "string"},
}
_ANY = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
_BINARY_BODY: Json = {
    "required": True,
    "description": "What the model's handler takes; forms become named values.",
    "content": _ANY,
}
_PREDICTED: Json = _ok("What the model's handler returns", _ANY)
_PREDICT_ERRORS = (400, 404, 413, 500, 503, 507)


def _predict(name: str, description: str, *parameters: Json) -> Json:
    return _operation(
        name, description, _PREDICTED, *_PREDICT_ERRORS, parameters=parameters, body=_BINARY_BODY
    )


_DESCRIPTION = _ok("An OpenAPI 3.0.1 document", _json({"type": "object"}))
_HEALTH = _ok("Able to serve", _STATUS) | {
    "503": {"description": "Not able to serve", "content": _STATUS}
}
_COMMON: Json = {
    "/": {"options": _operation("apiDescription", "Describes this API.", _DESCRIPTION)},
    "/api-description": {
        "get": _operation("apiDescriptionDocument", "Describes this API.", _DESCRIPTION)
    },
    "/ping": {"get": _operation("ping", "Whether the server is able to serve.", _HEALTH)},
    "/metrics": {
        "get": _operation(
            "metrics",
            "Metrics in Prometheus' text format.",
            _ok("Metrics", {"text/plain": {"schema": {"type": "string"}}}),
        )
    },
}
_INFERENCE: Json = {
    "/predictions/{model_name}": {
        "post": _predict("predictions", "Predicts with a model.", _NAME),
        "options": _operation(
            "predictionsApi", "Describes one model's API.", _DESCRIPTION, 404, parameters=(_NAME,)
        ),
    },
    "/invocations": {
        "post": _predict(
            "invocations",
            "Predicts with a model; without a name, with the only start-up model.",
            _query("model_name", "string", "Name of the model."),
        )
    },
    "/models/{model_name}/invoke": {
        "post": _predict("invokeModel", "Predicts with a model, as SageMaker calls it.", _NAME)
    },
    "/{model_name}/predict": {
        "post": _predict("predict", "The older path of predictions.", _NAME) | {"deprecated": True}
    },
}

_REGISTER = (
    _query("model_name", "string", "Name of the model; without it, the manifest's."),
    _query("handler", "string", "Handler, before the manifest's and the default."),
    _query("runtime", "string", "Runtime, before the manifest's.", enum=["python", "python3"]),
    _query("batch_size", "integer", "Most requests in one batch.", minimum=1, default=1),
    _query("max_batch_delay", "integer", "Longest wait for a batch, ms.", minimum=0, default=100),
    _query("initial_workers", "integer", "Workers at once; default: as configured.", minimum=0),
    _query("synchronous", "boolean", "Answer when the workers are ready.", default=True),
    _query("response_timeout", "integer", "Longest prediction, s.", minimum=1),
    _query("preload_model", "boolean", "Load once, and fork all workers from that."),
)
_URL = _query("url", "string", "Place of the model: in the store, or a URL that is allowed.")
_REGISTER_BODY: Json = {
    "description": "The same parameters; they count instead of the query's.",
    "content": _json(
        {
            "type": "object",
            "required": ["url"],
            "properties": {p["name"]: p["schema"] for p in (_URL, *_REGISTER)},
        }
    ),
}
_CHANGED = _ok("Done", _STATUS) | {
    "202": {"description": "Begun", "content": _STATUS},
    "210": {"description": "Done in part", "content": _STATUS},
}
_LISTED = _json(
    _object(
        {
            "models": {
                "type": "array",
                "items": _object(
                    {"modelName": _text("Name of the model."), "modelUrl": _text("Its place.")}
                ),
            }
        },
        {"nextPageToken": _text("Names the next page; absent: there is none.")},
    )
)
_LIFE: Json = {"type": "string", "enum": ["LOADING", "READY", "UNLOADING"]}
_DESCRIBED = _json(
    _object(
        {
            "modelName": _text("Name of the model."),
            "modelUrl": _text("Where it came from."),
            "minWorkers": _whole("Workers that should run."),
            "maxWorkers": _whole("Workers that may run."),
            "batchSize": _whole("Most requests in one batch."),
            "maxBatchDelay": _whole("Longest wait for a batch, ms."),
            "status": _LIFE,
            "loadedAtStartup": {"type": "boolean"},
            "workers": {
                "type": "array",
                "items": _object(
                    {
                        "id": _text("Number of the worker."),
                        "startTime": {"type": "string", "format": "date-time"},
                        "status": _text("READY, LOADING or UNLOADED."),
                        "gpu": {"type": "boolean"},
                        "memoryUsage": _whole("Bytes."),
                    }
                ),
            },
        },
        {
            "modelVersion": _text("Version of the model."),
            "engine": _text("Engine of the model."),
            "runtime": _text("Runtime of its handler."),
        },
    )
)
_MANAGEMENT: Json = {
    "/models": {
        "get": _operation(
            "listModels",
            "Lists the registered models by name.",
            _ok("A page of models", _LISTED),
            400,
            parameters=(
                _query("limit", "integer", "Most models in the answer.", minimum=1, default=100),
                _query("next_page_token", "string", "The nextPageToken of the page before."),
            ),
        ),
        "post": _operation(
            "registerModel",
            "Registers a model and starts its workers. `url` is required here or in the body.",
            _CHANGED,
            *(400, 404, 409, 500, 507),
            parameters=(_URL, *_REGISTER),
            body=_REGISTER_BODY,
        ),
    },
    "/models/{model_name}": {
        "get": _operation(
            "describeModel",
            "Describes a model and its workers.",
            _ok("The model", _DESCRIBED),
            404,
            parameters=(_NAME,),
        ),
        "put": _operation(
            "setAutoScale",
            "Sets the number of workers.",
            _CHANGED,
            *(400, 404, 500, 507),
            parameters=(
                _NAME,
                _query("min_worker", "integer", "Workers that run.", minimum=0, default=1),
                _query("max_worker", "integer", "At most so many; default: min_worker.", minimum=0),
                _query("synchronous", "boolean", "Answer when it is done.", default=False),
            ),
        ),
        "delete": _operation(
            "unregisterModel",
            "Finishes the requests of a model, ends its workers and removes it.",
            _ok("Removed", _STATUS),
            404,
            408,
            parameters=(_NAME,),
        ),
    },
}
