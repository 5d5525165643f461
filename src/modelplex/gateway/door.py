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
from modelplex.gateway.lobby import Lobby
from modelplex.gateway.passage import Passage, Sink
from modelplex.gateway.runtime import Call, Runtime
from modelplex.gateway.s3 import S3 as S3Proxy
from modelplex.gateway.services import RUNTIME, S3, SERVED, Service, identify, is_invocation
from modelplex.http.errors import BodyTooLarge
from modelplex.http.express import Receiver, Reply
from modelplex.http.messages import Data, Request, Response, encode_headers
from modelplex.lanes.wire import Answer

log = logging.getLogger(__name__)
access = logging.getLogger("modelplex.gateway.access")

_HASH_ASIDE_MIN = 256 * 1024  # bytes; a longer body is hashed in a thread, others go on meanwhile


class UnknownService(ServiceError, status=501, code="NotImplemented"):
    """A service of AWS that is not here."""


class Door:
    """Turns requests into answers; `clock` tells Unix seconds.

    `unsigned_invocations`: an InvokeEndpoint without a signature is answered too.
    """

    def __init__(
        self,
        verifier: Verifier,
        runtime: Runtime,
        s3: S3Proxy,
        control: Control,
        *,
        body_bytes_max: int,
        control_body_bytes_max: int,
        unsigned_invocations: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._verifier = verifier
        self._runtime = runtime
        self._s3 = s3
        self._control = control
        self._body_bytes_max = body_bytes_max
        self._control_body_bytes_max = control_body_bytes_max
        self._unsigned_invocations = unsigned_invocations
        self._loop = asyncio.get_running_loop()
        self._lobby = Lobby(self._let_in)
        self._asides: set[asyncio.Task[None]] = set()  # large bodies that are being hashed
        self._clock = clock
        self._id_prefix = str(uuid.uuid4())[:24].encode()  # of request ids, which look like UUIDs
        self._numbers = itertools.count(1)

    async def ready(self, timeout_s: float, stop: asyncio.Event) -> None:
        """Waits until the endpoints are known, at most so long, or until told to stop."""
        waiting = [self._loop.create_task(each) for each in (self._runtime.informed(), stop.wait())]
        await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for each in waiting:
            each.cancel()

    def express(self, request: Request) -> Receiver | None:
        """Takes an InvokeEndpoint the short way, with all of its body; else None."""
        if not request.target.startswith(b"/endpoints/"):
            return None
        if (request.length or 0) > self._body_bytes_max or not is_invocation(request):
            return None
        return self._receive

    async def handle(self, request: Request) -> Response:
        """The answer to one request, in the form of the service it is for."""
        began = time.perf_counter()
        service = identify(request)
        request_id = self._request_id().decode()
        if service is S3 and request.path == b"/ping" and _is_anonymous(request):
            return _ping(self._runtime.ready)
        try:
            response = await self._answer(service, request, request_id)
        except Exception as error:
            if error is request.body.error and not isinstance(error, BodyTooLarge):
                raise  # the client's own doing: the server's plain answer
            response = _refusal(_explained(error, service, request_id), service, request_id)
        _log(request, service, response.status, began, request_id)
        return response

    # -- InvokeEndpoint --------------------------------------------------------------------------

    def _receive(self, request: Request, body: Data, reply: Reply) -> None:
        passage = self._passage(request, reply)
        if self._is_soon_let_in(request, body):
            call = self._runtime.recall(request)
            if call is None:
                self._lobby.wait(passage, body)
            else:
                self._let_in(passage, body, call=call)
        else:
            aside = self._loop.create_task(self._let_in_aside(passage, body))
            self._asides.add(aside)
            aside.add_done_callback(self._asides.discard)

    async def _invoke(self, request: Request, body: bytes) -> Response:
        """The same for a request that did not come the short way."""
        waiting = _Waiting()
        passage = self._passage(request, waiting)
        if self._is_soon_let_in(request, body):
            self._let_in(passage, body)
        else:
            await self._let_in_aside(passage, body)
        try:
            return await waiting.answer
        except asyncio.CancelledError:
            waiting.gone = True
            passage.leave()
            raise

    def _passage(self, request: Request, sink: Sink) -> Passage:
        return Passage(request, self._request_id(), time.perf_counter(), sink, self._ended)

    def _is_soon_let_in(self, request: Request, body: Data) -> bool:
        """Whether there is not much to be hashed for it."""
        return len(body) < _HASH_ASIDE_MIN or self._is_welcome_unsigned(request)

    def _is_welcome_unsigned(self, request: Request) -> bool:
        return self._unsigned_invocations and _is_anonymous(request)

    async def _let_in_aside(self, passage: Passage, body: Data) -> None:
        body_hash = await asyncio.to_thread(payload_hash, body)
        if not passage.sink.gone:
            self._let_in(passage, body, body_hash)

    def _let_in(
        self, passage: Passage, body: Data, body_hash: str = "", call: Call | None = None
    ) -> None:
        """Verifies the signature and sends the request on its way; `call`: if it is known."""
        request = passage.request
        try:
            if not self._is_welcome_unsigned(request):
                self._verify(request, body_hash or payload_hash(body))
            passage.begin(self._runtime, body, call or self._runtime.read(request))
        except Exception as error:
            request_id = passage.request_id.decode()
            self._ended(passage, _explained(error, RUNTIME, request_id))

    def _ended(self, passage: Passage, outcome: Answer | ServiceError) -> None:
        if isinstance(outcome, ServiceError):
            request_id = passage.request_id.decode()
            status, headers, body = respond(outcome, RUNTIME.protocol, request_id)
            passage.sink.send(status, encode_headers(headers), body)
        else:
            status = outcome.status
            line = b"x-amzn-invoked-production-variant: %b\r\n" % passage.variant.encode()
            passage.sink.send(status, outcome.head + line, outcome.body)
        if status >= 400 or access.isEnabledFor(logging.DEBUG):
            _log(passage.request, RUNTIME, status, passage.began, passage.request_id.decode())

    # -- all others ------------------------------------------------------------------------------

    async def _answer(self, service: Service, request: Request, request_id: str) -> Response:
        if service is S3:
            return await self._s3.proxy(request, self._verify(request, None))
        limit = self._body_bytes_max if service is RUNTIME else self._control_body_bytes_max
        body = await request.body.read(limit)
        if service is RUNTIME:
            return await self._invoke(request, body)
        signed = self._verify(request, payload_hash(body))
        if not service.served:
            raise UnknownService(
                f"modelplex does not serve {service.name!r}. Served are: {', '.join(SERVED)}."
            )
        return await self._control.forward(service, request, body, signed, request_id)

    def _request_id(self) -> bytes:
        return b"%b%012x" % (self._id_prefix, next(self._numbers))

    def _verify(self, request: Request, body_hash: str | None) -> Signed:
        return self._verifier.verify(
            request.method, request.target, request.headers, body_hash, self._clock()
        )


class _Waiting:
    """The sink of a request that is awaited."""

    def __init__(self) -> None:
        self.gone = False
        self.on_gone: Callable[[], None] | None = None
        self.answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def send(self, status: int, headers: bytes, body: Data) -> None:
        """Whoever waits has it."""
        if not self.answer.done():
            lines = headers.split(b"\r\n")[:-1]
            parted = [line.partition(b": ") for line in lines]
            named = [(name, value) for name, _, value in parted]
            self.answer.set_result(Response(status, named, body))


def _explained(error: Exception, service: Service, request_id: str) -> ServiceError:
    """What went wrong, as the service would say it."""
    match error:
        case ServiceError():
            return error
        case SignatureError():
            return for_signature(error, service.name)
        case BodyTooLarge():
            return RequestEntityTooLarge(f"HTTP content length exceeded {error.limit} bytes.")
    log.error("request.failed", exc_info=error, extra={"request_id": request_id})
    return InternalFailure("The gateway failed. Its log has more under this request's id.")


def _refusal(error: ServiceError, service: Service, request_id: str) -> Response:
    status, headers, body = respond(error, service.protocol, request_id)
    return Response(status, headers, body)


def _is_anonymous(request: Request) -> bool:
    return not request.header(b"authorization") and b"X-Amz-" not in request.query


def _ping(ready: bool) -> Response:
    body = json.dumps({"status": "Healthy" if ready else "Starting"}).encode()
    return Response(200 if ready else 503, [(b"content-type", b"application/json")], body)


def _log(request: Request, service: Service, status: int, began: float, request_id: str) -> None:
    """One line per request: refusals and failures at level info, all others at debug."""
    level = logging.INFO if status >= 400 else logging.DEBUG
    if access.isEnabledFor(level):
        fields = {
            "method": request.method,
            "path": request.path.decode("latin-1"),
            "service": service.name,
            "status": status,
            "ms": round((time.perf_counter() - began) * 1000, 2),
            "peer": request.peer,
            "request_id": request_id,
        }
        access.log(level, "request", extra=fields)
