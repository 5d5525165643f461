"""Who are you, and what for? Every request passes here: identified, verified, sent on, logged."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import time
import uuid
from collections.abc import Callable

from modelplex.aws.claims import SignatureError
from modelplex.aws.errors import (
    InternalFailure,
    RequestEntityTooLarge,
    ServiceError,
    for_signature,
    respond,
)
from modelplex.aws.signatures import Signed, Verifier, payload_hash
from modelplex.gateway.control import Control
from modelplex.gateway.runtime import Runtime
from modelplex.gateway.s3 import S3 as S3Proxy
from modelplex.gateway.services import RUNTIME, S3, SERVED, Service, identify
from modelplex.http.errors import BodyTooLarge
from modelplex.http.messages import Request, Response

log = logging.getLogger(__name__)
access = logging.getLogger("modelplex.gateway.access")

_HASH_ASIDE_MIN = 256 * 1024  # bytes; a longer body is hashed in a thread, others go on meanwhile


class UnknownService(ServiceError, status=501, code="NotImplemented"):
    """A service of AWS that is not here."""


class Door:
    """Turns requests into answers; `clock` tells Unix seconds."""

    def __init__(
        self,
        verifier: Verifier,
        runtime: Runtime,
        s3: S3Proxy,
        control: Control,
        *,
        body_bytes_max: int,
        control_body_bytes_max: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._verifier = verifier
        self._runtime = runtime
        self._s3 = s3
        self._control = control
        self._body_bytes_max = body_bytes_max
        self._control_body_bytes_max = control_body_bytes_max
        self._clock = clock
        self._id_prefix = str(uuid.uuid4())[:24]  # of request ids, which look like UUIDs
        self._numbers = itertools.count(1)

    async def handle(self, request: Request) -> Response:
        """The answer to one request, in the form of the service it is for."""
        started = time.perf_counter()
        service = identify(request)
        request_id = f"{self._id_prefix}{next(self._numbers):012x}"
        if service is S3 and request.path == b"/ping" and _is_anonymous(request):
            return _ping(self._runtime.ready)
        try:
            response = await self._answer(service, request, request_id)
        except ServiceError as error:
            response = _refusal(error, service, request_id)
        except SignatureError as error:
            response = _refusal(for_signature(error, service.name), service, request_id)
        except BodyTooLarge as error:
            text = f"HTTP content length exceeded {error.limit} bytes."
            response = _refusal(RequestEntityTooLarge(text), service, request_id)
        except Exception as error:
            if error is request.body.error:  # the client's own doing: the server's plain answer
                raise
            log.exception("request.failed", extra={"request_id": request_id})
            text = "The gateway failed. Its log has more under this request's id."
            response = _refusal(InternalFailure(text), service, request_id)
        _log(request, service, response.status, started, request_id)
        return response

    async def _answer(self, service: Service, request: Request, request_id: str) -> Response:
        if service is S3:
            return await self._s3.proxy(request, self._verify(request, None))
        limit = self._body_bytes_max if service is RUNTIME else self._control_body_bytes_max
        body = await request.body.read(limit)
        if len(body) < _HASH_ASIDE_MIN:
            body_hash = payload_hash(body)
        else:
            body_hash = await asyncio.to_thread(payload_hash, body)
        signed = self._verify(request, body_hash)
        if service is RUNTIME:
            return await self._runtime.invoke(request, body, request_id)
        if not service.served:
            raise UnknownService(
                f"modelplex does not serve {service.name!r}. Served are: {', '.join(SERVED)}."
            )
        return await self._control.forward(service, request, body, signed, request_id)

    def _verify(self, request: Request, body_hash: str | None) -> Signed:
        return self._verifier.verify(
            request.method, request.target, request.headers, body_hash, self._clock()
        )


def _refusal(error: ServiceError, service: Service, request_id: str) -> Response:
    status, headers, body = respond(error, service.protocol, request_id)
    return Response(status, headers, body)


def _is_anonymous(request: Request) -> bool:
    return not request.header(b"authorization") and b"X-Amz-" not in request.query


def _ping(ready: bool) -> Response:
    body = json.dumps({"status": "Healthy" if ready else "Starting"}).encode()
    return Response(200 if ready else 503, [(b"content-type", b"application/json")], body)


def _log(request: Request, service: Service, status: int, started: float, request_id: str) -> None:
    """One line per request: refusals and failures at level info, all others at debug."""
    level = logging.INFO if status >= 400 else logging.DEBUG
    if access.isEnabledFor(level):
        fields = {
            "method": request.method,
            "path": request.path.decode("latin-1"),
            "service": service.name,
            "status": status,
            "ms": round((time.perf_counter() - started) * 1000, 2),
            "peer": request.peer,
            "request_id": request_id,
        }
        access.log(level, "request", extra=fields)
