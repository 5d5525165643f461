"""From an AWS request to an operation and back: AWS JSON 1.1, and the query protocol's XML.

The gateway has verified the signature and given the request its id. Every refusal is a
`ServiceError`, written in the protocol's own form in one place.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from urllib.parse import parse_qsl

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
from modelplex.control import iam, sts, xml
from modelplex.control.endpoints import IN_TRANSITION
from modelplex.control.logs import Logs
from modelplex.control.operations import SAGEMAKER
from modelplex.control.realm import Realm
from modelplex.control.records import Document, Kind
from modelplex.control.waiting import Changes, is_waiter
from modelplex.http.errors import BodyTooLarge
from modelplex.http.messages import Request, Response
from modelplex.settings import Settings

log = logging.getLogger(__name__)

QueryOperation = Callable[[Settings, xml.Fields], xml.Fields]
QUERY: dict[str, dict[str, QueryOperation]] = {
    "sts": {"GetCallerIdentity": sts.get_caller_identity},
    "iam": {"GetRole": iam.get_role},
}


class Calls:
    """Answers the AWS calls of one realm."""

    def __init__(self, realm: Realm, logs: Logs, changes: Changes) -> None:
        self._realm = realm
        self._logs = logs
        self._changes = changes

    async def answer(self, service: str, request: Request) -> Response:
        """The answer of one service to one request, whatever happens."""
        protocol = Protocol.QUERY if service in QUERY else Protocol.JSON
        request_id = request.header(b"x-amzn-requestid").decode("latin-1")
        try:
            body = await request.body.read(self._realm.settings.control_body_bytes_max)
            if protocol is Protocol.QUERY:
                return self._query(service, body, request_id)
            return await self._json(service, request, body, request_id)
        except BodyTooLarge as error:
            refusal: ServiceError = RequestEntityTooLarge(
                f"The request's body is longer than {error.limit} bytes."
            )
        except ServiceError as error:
            refusal = error
        except Exception:  # a defect of ours; the client gets its service's form of it
            log.exception("call.failed", extra={"service": service, "request_id": request_id})
            refusal = InternalFailure("An internal error occurred. See the control log.")
        status, headers, answer = respond(refusal, protocol, request_id)
        return Response(status, headers, answer)

    async def _json(self, service: str, request: Request, body: bytes, request_id: str) -> Response:
        model = shapes.load(service)
        operation = request.header(b"x-amz-target").decode("latin-1").rpartition(".")[2]
        model.operation(operation)
        document = shapes.validate(model, operation, _parse(body))
        if service == "logs":
            answer = await asyncio.to_thread(self._logs.answer, operation, document)
        else:
            if operation == "DescribeEndpoint":
                await self._hold(document, request.header(b"user-agent").decode("latin-1"))
            answer = SAGEMAKER[operation](self._realm, document)
        log.info("call", extra={"service": service, "operation": operation})
        headers = [
            (b"content-type", b"application/x-amz-json-1.1"),
            (b"x-amzn-requestid", request_id.encode("latin-1")),
        ]
        return Response(200, headers, json.dumps(answer).encode())

    async def _hold(self, document: Document, user_agent: str) -> None:
        """Let a waiter's question rest while its endpoint is in transition."""
        if is_waiter(user_agent):
            name = document["EndpointName"]
            limit_s = self._realm.settings.waiter_hold_s
            await self._changes.hold(lambda: self._in_transition(name), limit_s)

    def _in_transition(self, name: str) -> bool:
        record = self._realm.records.get(Kind.ENDPOINT, name)
        return record is not None and record.status in IN_TRANSITION

    def _query(self, service: str, body: bytes, request_id: str) -> Response:
        model = shapes.load(service)
        form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        operation = form.get("Action", "")
        wrapped = model.operation(operation).wrapper
        assert wrapped == f"{operation}Result"
        document = shapes.validate(model, operation, form)
        answer = QUERY[service][operation](self._realm.settings, document)
        content = xml.answer(operation, model.metadata["xmlNamespace"], answer, request_id)
        return Response(200, [(b"content-type", b"text/xml")], content)


def _parse(body: bytes) -> object:
    try:
        return json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise SerializationException(f"The request's body is not JSON: {error}.") from None


def unknown(service: str) -> ServiceError:
    """What a client of a service that control does not speak for is told."""
    return UnknownOperationException(f"modelplex has no service named {service!r}.")
