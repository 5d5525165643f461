"""From an AWS request to an operation and back: AWS JSON 1.1, and the query protocol's XML.

The gateway has verified the signature and given the request its id. Every refusal is a
`ServiceError`, written in the protocol's own form in one place.
"""

from __future__ import annotations

import asyncio
import json
import logging

from modelplex.aws import shapes
from modelplex.aws.errors import (
    InternalFailure,
    Protocol,
    RequestEntityTooLarge,
    SerializationException,
    ServiceError,
    UnknownOperationException,
    respond,
)
from modelplex.cloudwatch.operations import Logs
from modelplex.control import deployments, identity
from modelplex.control.deployments import IN_SERVICE, IN_TRANSITION
from modelplex.control.operations import SAGEMAKER
from modelplex.control.realm import Realm
from modelplex.control.records import Document, Kind
from modelplex.control.waiting import Changes, is_waiter
from modelplex.ecr.operations import Ecr
from modelplex.http.errors import BodyTooLarge
from modelplex.http.messages import Request, Response

log = logging.getLogger(__name__)


class Calls:
    """Answers the AWS calls of one realm."""

    def __init__(self, realm: Realm, logs: Logs, ecr: Ecr, changes: Changes) -> None:
        self._realm = realm
        self._logs = logs
        self._ecr = ecr
        self._changes = changes

    async def answer(self, service: str, request: Request) -> Response:
        """The answer of one service to one request, whatever happens."""
        request_id = request.header(b"x-amzn-requestid").decode("latin-1")
        try:
            body = await request.body.read(self._realm.settings.control_body_bytes_max)
            if service in identity.QUERY:
                xml = identity.answer(self._realm.settings, service, body, request_id)
                return Response(200, [(b"content-type", b"text/xml")], xml)
            document = await self._json(service, request, body)
            headers = [
                (b"content-type", b"application/x-amz-json-1.1"),
                (b"x-amzn-requestid", request_id.encode("latin-1")),
            ]
            return Response(200, headers, json.dumps(document).encode())
        except BodyTooLarge as error:
            refusal: ServiceError = RequestEntityTooLarge(
                f"The request's body is longer than {error.limit} bytes."
            )
        except ServiceError as error:
            refusal = error
        except Exception:  # a defect of ours; the client gets its service's form of it
            log.exception("call.failed", extra={"service": service, "request_id": request_id})
            refusal = InternalFailure("An internal error occurred. See the control log.")
        protocol = Protocol.QUERY if service in identity.QUERY else Protocol.JSON
        return Response(*respond(refusal, protocol, request_id))

    async def _json(self, service: str, request: Request, body: bytes) -> Document:
        """The answer of a service that speaks AWS JSON. Raises ServiceError."""
        if service not in ("sagemaker", "logs", "ecr"):
            raise UnknownOperationException(f"modelplex has no service named {service!r}.")
        operation = request.header(b"x-amz-target").decode("latin-1").rpartition(".")[2]
        document = shapes.validate(shapes.load(service), operation, _parse(body))
        log.info("call", extra={"service": service, "operation": operation})
        if service == "logs":
            return await asyncio.to_thread(self._logs.answer, operation, document)
        if service == "ecr":
            return await self._ecr.answer(operation, document)
        if operation == "DescribeEndpoint":
            await self._hold(document["EndpointName"], request.header(b"user-agent"))
        answer = SAGEMAKER[operation](self._realm, document)
        return answer if isinstance(answer, dict) else await answer

    async def _hold(self, endpoint: str, user_agent: bytes) -> None:
        """Let a waiter's question rest until there is something to tell of its endpoint."""
        if is_waiter(user_agent.decode("latin-1")):
            limit_s = self._realm.settings.waiter_hold_s
            await self._changes.hold(lambda: self._is_pending(endpoint), limit_s)

    def _is_pending(self, endpoint: str) -> bool:
        """Whether an endpoint is in transition, or in service with instances yet to come: after
        the platform's restart they all are started again, and nobody is told that they answer."""
        record = self._realm.records.get(Kind.ENDPOINT, endpoint)
        if record is None or record.status != IN_SERVICE:
            return record is not None and record.status in IN_TRANSITION
        wanted = deployments.read(record, self._realm.settings)
        return not any(map(self._realm.is_healthy, wanted.instances))


def _parse(body: bytes) -> object:
    try:
        return json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise SerializationException(f"The request's body is not JSON: {error}.") from None
