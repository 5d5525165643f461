"""The errors that AWS clients know, and how each protocol writes them.

`tests/aws/test_errors.py` holds the codes and statuses against botocore's service models.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from enum import Enum
from typing import Any, ClassVar, assert_never
from xml.sax.saxutils import escape

from modelplex.aws import claims

Header = tuple[bytes, bytes]


class Protocol(Enum):
    """How a service writes its errors."""

    JSON = "json"  # sagemaker, logs, ecr: AWS JSON 1.1
    REST_JSON = "rest-json"  # sagemaker-runtime
    QUERY = "query"  # sts, iam: XML
    S3 = "s3"  # XML of its own kind


class ServiceError(Exception):
    """An answer that a client's SDK raises as its own exception.

    `members` go into the answer beside the message: the error's other members in botocore's model.
    """

    code: str
    status: int
    message_member: ClassVar[str]  # "Message" where the service's model says so

    def __init_subclass__(
        cls, status: int, code: str = "", message_member: str = "message"
    ) -> None:
        cls.status, cls.code, cls.message_member = status, code or cls.__name__, message_member

    def __init__(self, message: str, **members: str | int) -> None:
        super().__init__(message)
        self.message = message
        self.members: dict[str, str | int] = members


# -- any JSON service ---------------------------------------------------------------------------


class SerializationException(ServiceError, status=400):
    """The request's body is no JSON, or a value in it has the wrong JSON type."""


class UnknownOperationException(ServiceError, status=400):
    """The service has no operation of that name."""


class RequestEntityTooLarge(ServiceError, status=413):
    """The request's body is larger than the service takes."""


class NotImplementedByModelplex(ServiceError, status=501, code="NotImplemented"):
    """AWS has the operation and modelplex has not (yet). 501 is final: no SDK tries it again."""

    def __init__(self, service: str, operation: str, implemented: Iterable[str]) -> None:
        served = ", ".join(sorted(implemented))
        super().__init__(
            f"modelplex does not implement {operation} of {service}. Implemented are: {served}."
        )


# -- sagemaker ----------------------------------------------------------------------------------


class ValidationException(ServiceError, status=400):
    """The request breaks a rule of the service's model, or names something that is not there."""


class ResourceLimitExceeded(ServiceError, status=400, message_member="Message"):
    """The request asks for more than the platform has or allows."""


# -- sagemaker-runtime --------------------------------------------------------------------------


class ValidationError(ServiceError, status=400, message_member="Message"):
    """The runtime's (and iam's) name for a request that breaks a rule."""


class ModelError(ServiceError, status=424, message_member="Message"):
    """The model's own container answered with an error, or not at all."""

    def __init__(
        self, message: str, original_status: int, original_message: str, log_stream_arn: str
    ) -> None:
        """`original_status` is what the container answered; 0 when it did not answer."""
        super().__init__(
            message,
            OriginalStatusCode=original_status,
            OriginalMessage=original_message,
            LogStreamArn=log_stream_arn,
        )


class ModelNotReadyException(ServiceError, status=429, message_member="Message"):
    """The model is still being fetched or loaded after the time a request waits for it."""


class InternalFailure(ServiceError, status=500, message_member="Message"):
    """A defect of the platform."""


class InternalDependencyException(ServiceError, status=530, message_member="Message"):
    """Something that the platform needs does not answer: the store, the disk."""


class ServiceUnavailable(ServiceError, status=503, message_member="Message"):
    """Queues are full or no instance is healthy. SDKs try it again."""


# -- logs, iam ----------------------------------------------------------------------------------


class InvalidParameterException(ServiceError, status=400):
    """The name that CloudWatch Logs and ECR have for a request that breaks a rule."""


class ResourceNotFoundException(ServiceError, status=400):
    """The log group or log stream does not exist."""


# -- ecr ----------------------------------------------------------------------------------------


class RepositoryNotFoundException(ServiceError, status=400):
    """The repository does not exist in that registry."""


class RepositoryAlreadyExistsException(ServiceError, status=400):
    """The repository's name is taken."""


class RepositoryNotEmptyException(ServiceError, status=400):
    """The repository has images, and its deletion was not forced."""


class ImageNotFoundException(ServiceError, status=400):
    """No image of the repository has that tag or digest."""


class TooManyTagsException(ServiceError, status=400):
    """The repository would have more than 50 tags."""


# -- who are you, s3 ----------------------------------------------------------------------------


class SignatureRefused(ServiceError, status=403):
    """The request is not signed as it must be. Every service has its own codes for that."""

    def __init__(self, code: str, status: int, message: str) -> None:
        super().__init__(message)
        self.code, self.status = code, status


class S3NotImplemented(ServiceError, status=501, code="NotImplemented"):
    """s3: a header or an operation that the store does not have."""


# -- the wire -----------------------------------------------------------------------------------


def respond(
    error: ServiceError, protocol: Protocol, request_id: str
) -> tuple[int, list[Header], bytes]:
    """Status, headers and body of the error as the protocol writes it.

    The answer to a HEAD request is the same without the body; that is left to the caller.
    """
    named = [(b"x-amzn-requestid", request_id.encode())]
    match protocol:
        case Protocol.JSON:
            kind, body = b"application/x-amz-json-1.1", _json({"__type": error.code}, error)
        case Protocol.REST_JSON:
            kind, body = b"application/json", _json({}, error)
            named.append((b"x-amzn-errortype", error.code.encode()))
        case Protocol.QUERY:
            kind, body = b"text/xml", _query_xml(error, request_id)
        case Protocol.S3:
            kind, body = b"application/xml", _s3_xml(error, request_id)
            named = [(b"x-amz-request-id", request_id.encode())]
        case _:
            assert_never(protocol)
    return error.status, [(b"content-type", kind), *named], body


def _json(first: dict[str, Any], error: ServiceError) -> bytes:
    return json.dumps({**first, error.message_member: error.message, **error.members}).encode()


def _query_xml(error: ServiceError, request_id: str) -> bytes:
    blame = "Sender" if error.status < 500 else "Receiver"
    inner = _elements({"Type": blame, "Code": error.code, "Message": error.message})
    body = f"<Error>{inner}</Error>{_elements({'RequestId': request_id})}"
    return f"<ErrorResponse>{body}</ErrorResponse>".encode()


def _s3_xml(error: ServiceError, request_id: str) -> bytes:
    fields = {"Code": error.code, "Message": error.message, **error.members}
    inner = _elements({**fields, "RequestId": request_id})
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>'.encode()


_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _elements(fields: dict[str, str | int]) -> str:
    """XML elements; characters that XML cannot hold become question marks."""
    return "".join(
        f"<{name}>{escape(_NOT_XML.sub('?', str(value)))}</{name}>"
        for name, value in fields.items()
    )


# -- signatures ---------------------------------------------------------------------------------

_UNSIGNED = "Missing Authentication Token"
_QUERY_UNSIGNED = "Request is missing Authentication Token"
_TOKEN = "The security token included in the request is invalid."
_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. "
    "Check your AWS Secret Access Key and signing method. "
    "Consult the service documentation for details."
)
_S3_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. "
    "Check your key and signing method."
)
_S3_KEY = "The AWS Access Key Id you provided does not exist in our records."
_S3_TOKEN = "The provided token is malformed or otherwise invalid."
_S3_SKEW = "The difference between the request time and the current time is too large."

# What was wrong -> code, status and text of the answer; "" means the exception's own text.
_Refusals = dict[type[claims.SignatureError], tuple[str, int, str]]

_JSON_REFUSALS: _Refusals = {
    claims.SignatureMismatch: ("InvalidSignatureException", 400, _MISMATCH),
    claims.ClockSkewed: ("InvalidSignatureException", 400, ""),
    claims.UnknownAccessKey: ("UnrecognizedClientException", 400, _TOKEN),
    claims.SessionTokenGiven: ("UnrecognizedClientException", 400, _TOKEN),
    claims.MissingSignature: ("MissingAuthenticationTokenException", 400, _UNSIGNED),
    claims.IncompleteSignature: ("IncompleteSignatureException", 400, ""),
}
_QUERY_REFUSALS: _Refusals = {
    claims.SignatureMismatch: ("SignatureDoesNotMatch", 403, _MISMATCH),
    claims.ClockSkewed: ("SignatureDoesNotMatch", 403, ""),
    claims.UnknownAccessKey: ("InvalidClientTokenId", 403, _TOKEN),
    claims.SessionTokenGiven: ("InvalidClientTokenId", 403, _TOKEN),
    claims.MissingSignature: ("MissingAuthenticationToken", 403, _QUERY_UNSIGNED),
    claims.IncompleteSignature: ("IncompleteSignature", 400, ""),
}
_S3_REFUSALS: _Refusals = {
    claims.SignatureMismatch: ("SignatureDoesNotMatch", 403, _S3_MISMATCH),
    claims.HeadersNotSigned: ("AccessDenied", 403, ""),
    claims.PayloadMismatch: ("XAmzContentSHA256Mismatch", 400, ""),
    claims.ClockSkewed: ("RequestTimeTooSkewed", 403, _S3_SKEW),
    claims.Expired: ("AccessDenied", 403, "Request has expired"),
    claims.UnknownAccessKey: ("InvalidAccessKeyId", 403, _S3_KEY),
    claims.SessionTokenGiven: ("InvalidToken", 400, _S3_TOKEN),
    claims.MissingSignature: ("AccessDenied", 403, "Access Denied"),
    claims.IncompleteSignature: ("AuthorizationHeaderMalformed", 400, ""),
    claims.IncompleteQuery: ("AuthorizationQueryParametersError", 400, ""),
    claims.UnsupportedSignature: ("InvalidRequest", 400, ""),
}
_REFUSALS = {"s3": _S3_REFUSALS, "sts": _QUERY_REFUSALS, "iam": _QUERY_REFUSALS}


def for_signature(exc: claims.SignatureError, service: str) -> ServiceError:
    """AWS's own error of that service for a request whose signature was refused.

    `service` is the name in the signature's scope, or "sagemaker-runtime" for InvokeEndpoint,
    which answers 403 where services that speak JSON 1.1 answer 400.
    """
    refusals = _REFUSALS.get(service, _JSON_REFUSALS)
    code, status, text = next(refusals[cls] for cls in type(exc).__mro__ if cls in refusals)
    status = 403 if service == "sagemaker-runtime" else status
    error = SignatureRefused(code, status, text or str(exc))
    if service == "s3" and isinstance(exc, claims.UnknownAccessKey):
        error.members["AWSAccessKeyId"] = exc.access_key
    return error
