"""Which AWS service a request is meant for, and in which form that service answers.

Clients tell by the scope of their signature; for the scope `sagemaker`, which two services share,
by the path. An unsigned request is judged by its X-Amz-Target and path, else it is S3's.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from modelplex.aws import signatures
from modelplex.aws.errors import Protocol
from modelplex.http.messages import Body, Request

RUNTIME_PATH = re.compile(
    rb"/endpoints/([^/]+)/(invocations|invocations-response-stream|async-invocations)"
)


@dataclass(frozen=True, slots=True)
class Service:
    """A service by its name in signatures, apart from `sagemaker-runtime`."""

    name: str
    protocol: Protocol
    served: bool = True


S3 = Service("s3", Protocol.S3)
RUNTIME = Service("sagemaker-runtime", Protocol.REST_JSON)
_SAGEMAKER = Service("sagemaker", Protocol.JSON)
_LOGS = Service("logs", Protocol.JSON)
_ECR = Service("ecr", Protocol.JSON)
_BY_SCOPE = {
    "s3": S3,
    "sagemaker": _SAGEMAKER,
    "logs": _LOGS,
    "ecr": _ECR,
    "sts": Service("sts", Protocol.QUERY),
    "iam": Service("iam", Protocol.QUERY),
    "modelplex": Service("modelplex", Protocol.JSON),
}
SERVED = (*_BY_SCOPE, RUNTIME.name)


def identify(request: Request) -> Service:
    """The service that a request claims to be for; its signature is not checked here."""
    scope = signatures.scope(request.headers, request.query)
    if scope is None:
        return _unsigned(request)
    service = _BY_SCOPE.get(scope.service)
    if service is None:
        return Service(scope.service, Protocol.JSON, served=False)
    return RUNTIME if service is _SAGEMAKER and _is_runtime(request) else service


def is_invocation(request: Request) -> bool:
    """Whether `identify` says RUNTIME, as cheaply as can be."""
    credential = b""
    for name, value in request.headers:
        if name == b"authorization":
            credential = value[: value.find(b"Signature=")]
            break
        if name == b"x-amz-target":
            return identify(request) is RUNTIME
    return _is_invocation(request.method, request.target, credential)


@functools.lru_cache(1024)  # few clients, each with the same few endpoints
def _is_invocation(method: str, target: bytes, credential: bytes) -> bool:
    headers = [(b"authorization", credential)] if credential else []
    return identify(Request(method, target, headers, Body.of(b""), "")) is RUNTIME


def _unsigned(request: Request) -> Service:
    target = request.header(b"x-amz-target")
    if target.startswith(b"SageMaker."):
        return _SAGEMAKER
    if target.startswith(b"Logs_"):
        return _LOGS
    if target.startswith(b"AmazonEC2ContainerRegistry_"):
        return _ECR
    return RUNTIME if _is_runtime(request) else S3


def _is_runtime(request: Request) -> bool:
    return request.method == "POST" and RUNTIME_PATH.fullmatch(request.path) is not None
