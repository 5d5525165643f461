"""`POST /invocations`: one InvokeEndpoint from the gateway, answered in AWS's wire form."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Awaitable, Callable
from functools import partial

from modelplex.aws.errors import (
    Protocol,
    RequestEntityTooLarge,
    ServiceError,
    ValidationError,
    respond,
)
from modelplex.aws.locations import BadLocation, Location, join
from modelplex.http.errors import BodyTooLarge
from modelplex.http.messages import Header, Request, Response
from modelplex.instance.agent import Agent
from modelplex.instance.answers import Answers
from modelplex.instance.calls import Call
from modelplex.instance.logs.journal import Journal
from modelplex.settings import Settings
from modelplex.workers.worker import Answer, Invocation

TARGET_MODEL = b"x-amzn-sagemaker-target-model"
CUSTOM_ATTRIBUTES = b"x-amzn-sagemaker-custom-attributes"
TARGET_BYTES_MAX = 1024  # TargetModel's own limit
DEFAULT_CONTENT_TYPE = b"application/octet-stream"
# What a container is told of the request.
PASSED_ON = {
    b"content-type",
    b"accept",
    CUSTOM_ATTRIBUTES,
    TARGET_MODEL,
    b"x-amzn-sagemaker-inference-id",
    b"x-amzn-requestid",
}


class Invocations:
    """The door for requests."""

    def __init__(
        self,
        *,
        agent: Agent,
        answers: Answers,
        journal: Journal,
        location: Location,
        only_model: str | None,
        limits: Settings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`only_model`: of a single-model endpoint; requests must not name another."""
        self._agent = agent
        self._answers = answers
        self._journal = journal
        self._location = location
        self._only_model = only_model
        self._limits = limits
        self._clock = clock

    async def __call__(self, request: Request) -> Response:
        """The answer, whatever happened."""
        request_id = request.header(b"x-amzn-requestid").decode("latin-1") or str(uuid.uuid4())
        try:
            call = Call(self._target(request), self._clock())
        except ServiceError as error:
            return _error(error, request_id, [])
        response = await self._answer(request, request_id, call)
        timings = call.milliseconds()
        self._journal.write(
            "invoked",
            call.model,
            request_id=request_id,
            start=call.start,
            status=response.status,
            **timings,
        )
        response.headers += _explanation(call.start, timings)
        return response

    async def _answer(self, request: Request, request_id: str, call: Call) -> Response:
        try:
            body = await request.body.read(self._limits.body_bytes_max)
            headers = [header for header in request.headers if header[0] in PASSED_ON]
            invocation = Invocation(headers, body, request_id=request_id.encode("latin-1"))
            answer = await self._agent.requests.invoke(
                call, invocation, partial(_tell, request.interim)
            )
            return self._success(answer, call.model, request_id)
        except ServiceError as error:
            return _error(error, request_id, _retry_after(call))
        except BodyTooLarge as error:
            refusal = RequestEntityTooLarge(f"HTTP content length exceeded {error.limit} bytes.")
            return _error(refusal, request_id, [])

    def _target(self, request: Request) -> str:
        """The model that is meant. Raises ValidationError for none, or for an impossible name."""
        target = request.header(TARGET_MODEL)
        if self._only_model is not None:
            if target:
                raise self._answers.unexpected_target()
            return self._only_model
        if not target:
            raise self._answers.missing_target()
        if len(target) > TARGET_BYTES_MAX:
            raise ValidationError(f"TargetModel is longer than {TARGET_BYTES_MAX} characters.")
        model = target.decode("utf-8", "replace")
        if model not in self._agent.workers:  # else this has been looked at before
            self._check(model)
        return model

    def _check(self, model: str) -> None:
        try:
            join(self._location, model)
        except BadLocation as error:
            raise ValidationError(f"{error}.") from None

    def _success(self, answer: Answer, model: str, request_id: str) -> Response:
        """A 2xx passes through with its two documented headers; all else is a ModelError."""
        if not 200 <= answer.status < 300:
            text = bytes(answer.body).decode("utf-8", "replace") or answer.phrase
            raise self._answers.container_error(model, answer.status, text)
        headers = [(b"x-amzn-requestid", request_id.encode("latin-1"))]
        try:
            headers += _from_container(answer.headers)
        except ValueError as error:
            raise self._answers.container_error(model, 500, str(error)) from None
        return Response(200, headers, answer.body)


async def _tell(interim: Callable[[int, list[Header]], Awaitable[None]], state: bytes) -> None:
    await interim(102, [(b"x-modelplex-state", state)])


def _from_container(headers: list[Header]) -> list[Header]:
    """Content type and custom attributes. Raises ValueError for what is no header's value."""
    given = dict(headers)
    found = [(b"content-type", _value(given, b"content-type") or DEFAULT_CONTENT_TYPE)]
    if attributes := _value(given, CUSTOM_ATTRIBUTES):
        found.append((CUSTOM_ATTRIBUTES, attributes))
    return found


def _value(given: dict[bytes, bytes], name: bytes) -> bytes:
    value = given.get(name, b"")
    text = value.decode("utf-8")
    if not text.isprintable() or not text.isascii():
        raise ValueError(f"The handler set a header to {text!r}, which no header can be.")
    return value


def _explanation(start: str, timings: dict[str, float]) -> list[Header]:
    parts = ", ".join([f"{name};dur={value:g}" for name, value in timings.items()])
    return [(b"x-modelplex-start", start.encode()), (b"server-timing", parts.encode())]


def _retry_after(call: Call) -> list[Header]:
    """When to come back, in whole seconds, as the header wants them."""
    if not call.retry_after_s:
        return []
    return [(b"retry-after", b"%d" % math.ceil(call.retry_after_s))]


def _error(error: ServiceError, request_id: str, headers: list[Header]) -> Response:
    status, wire, body = respond(error, Protocol.REST_JSON, request_id)
    return Response(status, [*wire, *headers], body)
