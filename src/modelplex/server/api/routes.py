"""What one listener answers: which path is whose, in which order Multi Model Server asks."""

from __future__ import annotations

import logging
import time

from modelplex.http.errors import BodyTimeout, BodyTooLarge
from modelplex.http.messages import Header, Request, Response
from modelplex.server.api import cors, openapi
from modelplex.server.api.answers import (
    JSON_TYPE,
    Envelope,
    error_body,
    json_response,
    new_request_id,
)
from modelplex.server.api.inference import Inference
from modelplex.server.api.management import Management
from modelplex.server.api.paths import invoked, segments
from modelplex.server.errors import (
    Internal,
    NotAllowed,
    ResourceNotFound,
    ServerError,
    TimedOut,
    TooLarge,
)
from modelplex.server.logs.journal import Journal
from modelplex.server.serving.models import Health, Models

log = logging.getLogger(__name__)

_METRICS_TYPE: Header = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
_NOT_FOUND = "Requested resource is not found, please refer to API document."
_NOT_ALLOWED = "Requested method is not allowed, please refer to API document."
_ABLE = (Health.HEALTHY, Health.PARTIAL)


class Routes:
    """The handler of one listener, with the inference API, the management API, or both."""

    def __init__(
        self,
        models: Models,
        journal: Journal,
        envelope: Envelope,
        inference: Inference | None,
        management: Management | None,
    ) -> None:
        self._models = models
        self._journal = journal
        self._envelope = envelope
        self._inference = inference
        self._management = management

    async def __call__(self, request: Request) -> Response:
        """The answer to anything, also to what is refused."""
        began = time.perf_counter()
        request_id = new_request_id()
        response = await self._attempt(request, request_id)
        response.headers = self._envelope.headers(request_id, response.headers)
        took = time.perf_counter() - began
        self._journal.access(request.peer, request.method, request.target, response.status, took)
        return response

    async def _attempt(self, request: Request, request_id: bytes) -> Response:
        try:
            return await self._answer(request, request_id)
        except ServerError as error:
            refused = error
        except BodyTooLarge as error:
            refused = TooLarge(f"The request is larger than max_request_size: {error.limit} bytes.")
        except BodyTimeout as error:
            refused = TimedOut(f"The request did not arrive in time: {error}.")
        except Exception as error:
            if error is request.body.error:  # the client went away, or sent what is not HTTP
                raise
            log.exception("server.defect", extra={"target": request.target})
            refused = Internal("The server failed; its log has the reason.")
        return Response(refused.status, [JSON_TYPE], error_body(refused))

    async def _answer(self, request: Request, request_id: bytes) -> Response:
        if self._envelope.has_cors and cors.is_preflight(request):
            return Response(200)
        parts = segments(request.path)
        match parts:
            case ["ping"]:
                health = self._models.health()
                return json_response(200 if health in _ABLE else 503, {"status": health.value})
            case ["metrics"]:
                _allow(request, "GET", "HEAD")
                return Response(200, [_METRICS_TYPE], self._journal.prometheus(self._models))
            case [] | ["api-description"]:
                return self._describe(request, bool(parts))
        if self._inference is not None and (name := invoked(parts)) is not None:
            return await self._invoke(self._inference, request, name, request_id)
        if self._management is not None and parts[0] == "models":
            return await self._manage(self._management, request, parts[1:])
        raise ResourceNotFound(_NOT_FOUND)

    def _describe(self, request: Request, any_method: bool) -> Response:
        if not any_method:
            _allow(request, "OPTIONS")
        inference, management = self._inference is not None, self._management is not None
        return json_response(200, openapi.document(inference=inference, management=management))

    async def _invoke(
        self, inference: Inference, request: Request, name: str, request_id: bytes
    ) -> Response:
        if request.method == "OPTIONS":
            model = inference.model(name, request.query)
            return json_response(200, openapi.model_document(model.name))
        return await inference.invoke(request, name, request_id)

    async def _manage(self, management: Management, request: Request, rest: list[str]) -> Response:
        match request.method, rest:
            case "GET", []:
                return management.page(request)
            case "POST", []:
                return await management.register(request)
            case "GET", [name]:
                return await management.describe(name)
            case "PUT", [name]:
                return await management.scale(request, name)
            case "DELETE", [name]:
                return await management.unregister(name)
            case _, [] | [_]:
                raise NotAllowed(_NOT_ALLOWED)
        raise ResourceNotFound(_NOT_FOUND)


def _allow(request: Request, *methods: str) -> None:
    if request.method not in methods:
        raise NotAllowed(_NOT_ALLOWED)
