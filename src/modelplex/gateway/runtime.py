"""InvokeEndpoint: from a checked request to an instance's answer."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import unquote

from modelplex.aws import shapes
from modelplex.aws.errors import ValidationError
from modelplex.core.routing.variants import UnknownVariant, choose_variant
from modelplex.gateway.delivery import Delivery, Done, Flight
from modelplex.gateway.fleet import Endpoint, Fleet, Variant
from modelplex.gateway.routes import Routes
from modelplex.gateway.services import RUNTIME_PATH
from modelplex.http.messages import Data, Header, Request
from modelplex.lanes.wire import Ask

_OPERATIONS = {
    b"invocations": "InvokeEndpoint",
    b"invocations-response-stream": "InvokeEndpointWithResponseStream",
    b"async-invocations": "InvokeEndpointAsync",
}
# What an instance gets to see; AWS strips all other headers too.
_PASSED_ON = ("ContentType", "Accept", "CustomAttributes", "TargetModel", "InferenceId")
_UNSUPPORTED = (
    "TargetContainerHostname",
    "EnableExplanations",
    "InferenceComponentName",
    "SessionId",
    "PrefixAwareId",
)
_STRAYS = re.compile(r"\\|(?:^|/)\.{0,2}(?:/|$)")  # an empty, "." or ".." part, or a backslash


def _header_members() -> dict[bytes, str]:
    """Header name -> member of InvokeEndpointInput."""
    members = shapes.load("sagemaker-runtime").shapes["InvokeEndpointInput"]["members"]
    return {
        member["locationName"].lower().encode(): name
        for name, member in members.items()
        if member.get("location") == "header"
    }


CALLS_MAX = 4096  # remembered; more: all are forgotten

_MEMBERS = _header_members()
_NAMES = {member: name for name, member in _MEMBERS.items()}


class Call(NamedTuple):
    """What a request asks for."""

    endpoint: str
    variant: str | None
    model: str | None
    target: bytes  # the model as the instance is told it
    packed: bytes  # headers for the instance, as `lanes` has them


def _read(uri: bytes, headers: tuple[Header, ...]) -> Call:
    """The request, checked against the service's model."""
    match = RUNTIME_PATH.fullmatch(uri.partition(b"?")[0])
    assert match is not None  # services.identify has seen it
    operation = _OPERATIONS[match[2]]
    document: dict[str, Any] = {"EndpointName": unquote(match[1].decode("latin-1"))}
    for name, value in headers:
        document.setdefault(_MEMBERS[name], value.decode("utf-8", "surrogateescape"))
    document = shapes.validate(shapes.load("sagemaker-runtime"), operation, document)
    for member in _UNSUPPORTED:
        if member in document:
            raise ValidationError(f"{member} is not supported by modelplex.")
    target = document.get("TargetModel")
    if target is not None and _STRAYS.search(target):
        raise ValidationError(
            f"Invalid target model {target!r}: it must be a relative path below the endpoint's "
            "model data prefix, without empty, '.' or '..' parts and without backslashes."
        )
    return Call(
        document["EndpointName"],
        document.get("TargetVariant"),
        target,
        (target or "").encode("utf-8", "surrogateescape"),
        b"".join(
            b"\0%b\0%b" % (_NAMES[m], document[m].encode("utf-8", "surrogateescape"))
            for m in _PASSED_ON
            if m in document
        ),
    )


class Runtime:
    """Answers InvokeEndpoint. `draw` gives numbers in [0, 1)."""

    def __init__(
        self,
        fleet: Fleet,
        delivery: Delivery,
        routes: Routes,
        account: str,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._fleet = fleet
        self._delivery = delivery
        self._routes = routes
        self._account = account
        self._draw = draw
        self._calls: dict[tuple[bytes, tuple[Header, ...]], Call] = {}

    @property
    def ready(self) -> bool:
        """Whether the endpoints are known; before, everything would be "not found"."""
        return self._fleet.informed

    async def informed(self) -> None:
        """Returns when they are."""
        while not self._fleet.informed:
            await self._fleet.changed(60.0)

    def recall(self, request: Request) -> Call | None:
        """What it asks for, if somebody has asked for the very same lately."""
        return self._calls.get(_key(request))

    def read(self, request: Request) -> Call:
        """What a verified request asks for. Raises ServiceError."""
        key = _key(request)
        call = self._calls.get(key)
        if call is None:
            call = _read(*key)
            if len(self._calls) >= CALLS_MAX:
                self._calls.clear()
            self._calls[key] = call
        return call

    def knows(self, call: Call) -> bool:
        """Whether its endpoint is in service; if not, `ask` may bring news."""
        endpoint = self._fleet.known(call.endpoint)
        return endpoint is not None and endpoint.invokable

    async def ask(self, call: Call) -> None:
        """Asks control once for what it knows of the endpoint."""
        await self._fleet.find(call.endpoint)

    def invoke(self, call: Call, body: Data, request_id: bytes, done: Done) -> Flight:
        """Sends a verified request on its way; `done` hears of the answer. Raises ServiceError."""
        endpoint = self._endpoint(call.endpoint)
        variant = _variant(endpoint, call.variant, self._draw())
        _check_target(endpoint.name, variant, call.model)
        route = self._routes.route(endpoint.name, variant, call.model)
        ask = Ask(call.target, request_id, call.packed)
        flight = Flight(self._delivery, endpoint.name, variant, route, ask, body, done)
        self._delivery.send(flight)
        return flight

    def _endpoint(self, name: str) -> Endpoint:
        endpoint = self._fleet.known(name)
        if endpoint is None:
            raise ValidationError(f"Endpoint {name} of account {self._account} not found.")
        if not endpoint.invokable:
            raise ValidationError(
                f"Endpoint {name} of account {self._account} is not in service: its status is "
                f"{endpoint.status}."
            )
        return endpoint


def _key(request: Request) -> tuple[bytes, tuple[Header, ...]]:
    """All of a request that says what it is for."""
    return request.target, tuple([header for header in request.headers if header[0] in _MEMBERS])


def _variant(endpoint: Endpoint, target: str | None, draw: float) -> Variant:
    try:
        return choose_variant(endpoint.variants, target, draw)
    except UnknownVariant:
        raise ValidationError(f"Variant {target} not found for endpoint {endpoint.name}.") from None


def _check_target(endpoint: str, variant: Variant, target: str | None) -> None:
    """A target model on multi-model variants, and on those only."""
    if target is None:
        if variant.multi_model:
            raise ValidationError(
                f"Request for endpoint {endpoint} is missing a target model header. "
                "The endpoint is a multi-model endpoint: name a model by TargetModel."
            )
        return
    if not variant.multi_model:
        raise ValidationError(
            f"Endpoint {endpoint} is not a multi-model endpoint and does not support target model "
            "header."
        )
