"""InvokeEndpoint as it comes from a gateway by lane, answered in AWS's wire form."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from functools import partial

from modelplex.aws.errors import (
    Protocol,
    RequestEntityTooLarge,
    ServiceError,
    ValidationError,
    respond,
)
from modelplex.aws.locations import BadLocation, Location, join
from modelplex.core.routing.tally import Tally
from modelplex.http.messages import Header, encode_headers
from modelplex.instance.agent import Agent
from modelplex.instance.answers import Answers
from modelplex.instance.calls import Call
from modelplex.instance.logs.journal import Journal
from modelplex.lanes.landing import Asked
from modelplex.lanes.wire import NOTHING_TOLD, Told
from modelplex.lanes.wire import Answer as Wire
from modelplex.runtime.frames import new
from modelplex.settings import Settings
from modelplex.workers.worker import Answer, Invocation

CUSTOM_ATTRIBUTES = b"x-amzn-sagemaker-custom-attributes"
TARGET_BYTES_MAX = 1024  # TargetModel's own limit
DEFAULT_CONTENT_TYPE = b"application/octet-stream"

_LINES = (
    b"%bx-amzn-requestid: %b\r\nx-modelplex-start: %b\r\n"
    b"server-timing: queue;dur=%.3f, fetch;dur=%.3f, load;dur=%.3f, handle;dur=%.3f\r\n"
)
_LINES_AT_ONCE = (
    b"%bx-amzn-requestid: %b\r\nx-modelplex-start: warm\r\n"
    b"server-timing: queue;dur=0, fetch;dur=0, load;dur=0, handle;dur=%.3f\r\n"
)


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
        self._workers = agent.workers
        self._requests = agent.requests
        self._answers = answers
        self._journal = journal
        self._location = location
        self._only_model = only_model
        self._body_bytes_max = limits.body_bytes_max
        several = limits.gateways > 1  # else the one has seen it all
        self._tally = Tally(limits.placement_window_s) if several else None
        self._clock = clock

    def __call__(self, asked: Asked) -> None:
        """Has it answered, whatever happens, unless its client leaves before."""
        model, request_id, packed = asked.head
        try:
            if len(asked.body) > self._body_bytes_max:  # a gateway with other settings than ours
                limit = self._body_bytes_max
                raise RequestEntityTooLarge(f"HTTP content length exceeded {limit} bytes.")
            name = self._target(model)
        except ServiceError as error:
            head, body = _error(error, request_id, [])
            head += b"x-amzn-requestid: %b\r\n" % request_id
            asked.answer(Wire(error.status, NOTHING_TOLD, head, body))
            return
        invocation = Invocation(packed, asked.body, b"", request_id)
        call = Call(name, self._clock(), invocation, asked, self._ended)
        if self._tally is not None:
            self._tally.came(name, call.arrived_at)
        asked.on_leave = partial(self._left, call)
        self._requests.invoke(call)

    def _left(self, call: Call) -> None:
        if self._requests.abandon(call):
            self._leave(call)

    def _leave(self, call: Call) -> tuple[float, float]:
        """What to tell the gateways when a call is over."""
        if self._tally is None:
            return 0.0, 0.0
        return self._tally.left(call.model, call.handle_s)

    def _ended(self, call: Call, outcome: Answer | ServiceError) -> None:
        load, erlangs = self._leave(call)
        asked = call.asked
        if asked is None or asked.gone:
            return
        request_id = call.invocation.request_id
        handle_s, start = call.handle_s, call.start
        status, head, body = self._wire(call, outcome, request_id)
        seconds = (call.queue_s, call.fetch_s, call.load_s, handle_s)
        self._journal.answered(call.model, request_id, start, status, seconds)
        if call.waited:
            spent = [1000 * each for each in seconds]
            lines = _LINES % (head, request_id, start.encode(), *spent)
        else:
            lines = _LINES_AT_ONCE % (head, request_id, 1000 * handle_s)
        told = new(Told, (start if status == 200 or handle_s else "", handle_s, load, erlangs))
        asked.answer(new(Wire, (status, told, lines, body)))

    def _wire(
        self, call: Call, outcome: Answer | ServiceError, request_id: bytes
    ) -> tuple[int, bytes, bytes | bytearray]:
        """Status, header lines and body: a 2xx passes through with its two documented headers; all
        else is a ModelError.
        """
        if isinstance(outcome, Answer):
            if 200 <= outcome.status < 300:
                try:
                    return 200, _from_container(tuple(outcome.headers)), outcome.body
                except ValueError as error:
                    outcome = self._answers.container_error(call.model, 500, str(error))
            else:
                text = bytes(outcome.body).decode("utf-8", "replace") or outcome.phrase
                outcome = self._answers.container_error(call.model, outcome.status, text)
        head, body = _error(outcome, request_id, _retry_after(call))
        return outcome.status, head, body

    def _target(self, target: bytes) -> str:
        """The model that is meant. Raises ValidationError for none, or for an impossible name."""
        if self._only_model is not None:
            if target:
                raise self._answers.unexpected_target()
            return self._only_model
        if not target:
            raise self._answers.missing_target()
        model = target.decode("utf-8", "replace")
        if model not in self._workers:  # else this has been looked at before
            self._check(target, model)
        return model

    def _check(self, target: bytes, model: str) -> None:
        if len(target) > TARGET_BYTES_MAX:
            raise ValidationError(f"TargetModel is longer than {TARGET_BYTES_MAX} characters.")
        try:
            join(self._location, model)
        except BadLocation as error:
            raise ValidationError(f"{error}.") from None


@functools.lru_cache(256)  # a handler's answers nearly always have the same
def _from_container(headers: tuple[Header, ...]) -> bytes:
    """Content type and custom attributes. Raises ValueError for what is no header's value."""
    given = dict(headers)
    found = [(b"content-type", _value(given, b"content-type") or DEFAULT_CONTENT_TYPE)]
    if attributes := _value(given, CUSTOM_ATTRIBUTES):
        found.append((CUSTOM_ATTRIBUTES, attributes))
    return encode_headers(found)


def _value(given: dict[bytes, bytes], name: bytes) -> bytes:
    value = given.get(name, b"")
    text = value.decode("utf-8")
    if not text.isprintable() or not text.isascii():
        raise ValueError(f"The handler set a header to {text!r}, which no header can be.")
    return value


def _retry_after(call: Call) -> list[Header]:
    """When to come back, in whole seconds, as the header wants them."""
    if not call.retry_after_s:
        return []
    return [(b"retry-after", b"%d" % math.ceil(call.retry_after_s))]


def _error(error: ServiceError, request_id: bytes, headers: list[Header]) -> tuple[bytes, bytes]:
    """Header lines, without the request's id, and body."""
    _, wire, body = respond(error, Protocol.REST_JSON, request_id.decode("latin-1"))
    kept = [header for header in wire if header[0] not in (b"x-amzn-requestid", b"content-length")]
    return encode_headers([*kept, *headers]), body
