"""The errors that AWS clients know, and how each protocol writes them.

    ServiceError
    ├─ any JSON service    SerializationException, UnknownOperationException, ThrottlingException,
    │                      RequestEntityTooLarge, NotImplementedByModelplex
    ├─ sagemaker           ValidationException, ResourceLimitExceeded, ResourceInUse,
    │                      ResourceNotFound
    ├─ sagemaker-runtime   ValidationError, ModelError, ModelNotReadyException, InternalFailure,
    │                      InternalDependencyException, ServiceUnavailable
    ├─ logs                InvalidParameterException, ResourceNotFoundException
    ├─ iam                 NoSuchEntity
    └─ who are you         UnrecognizedClientException, InvalidSignatureException,
                           MissingAuthenticationTokenException, IncompleteSignatureException
       the same, sts, iam  InvalidClientTokenId, SignatureDoesNotMatch, MissingAuthenticationToken,
                           IncompleteSignature
       the same, s3        InvalidAccessKeyId, SignatureDoesNotMatch, RequestTimeTooSkewed,
                           AccessDenied, InvalidToken, InvalidRequest,
                           AuthorizationHeaderMalformed,
                           AuthorizationQueryParametersError,
                           XAmzContentSHA256Mismatch, S3NotImplemented

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

    JSON = "json"  # sagemaker, logs: AWS JSON 1.1
    REST_JSON = "rest-json"  # sagemaker-runtime
    QUERY = "query"  # sts, iam: XML
    S3 = "s3"  # XML of its own kind


class ServiceError(Exception):
    """An answer that a client's SDK raises as its own exception.

    `members` go into the answer beside the message: the error's other members in botocore's model.
    """

    code: ClassVar[str]
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


class ThrottlingException(ServiceError, status=400):
    """Too many requests at once. SDKs try it again, with pauses."""


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


class ResourceInUse(ServiceError, status=400, message_member="Message"):
    """Something else needs the resource as it is."""


class ResourceNotFound(ServiceError, status=400, message_member="Message"):
    """The resource does not exist."""


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
    """CloudWatch Logs' name for a request that breaks a rule."""


class ResourceNotFoundException(ServiceError, status=400):
    """The log group or log stream does not exist."""


class NoSuchEntity(ServiceError, status=404):
    """The role does not exist."""


# -- who are you: JSON services -----------------------------------------------------------------


class UnrecognizedClientException(ServiceError, status=400):
    """The access key, or the session token, is none of ours."""


class InvalidSignatureException(ServiceError, status=400):
    """The signature does not fit the request, or is too old or too young."""


class MissingAuthenticationTokenException(ServiceError, status=400):
    """The request is not signed."""


class IncompleteSignatureException(ServiceError, status=400):
    """The Authorization header lacks a part."""


# -- who are you: sts, iam, s3 ------------------------------------------------------------------


class InvalidClientTokenId(ServiceError, status=403):
    """sts, iam: the access key, or the session token, is none of ours."""


class MissingAuthenticationToken(ServiceError, status=403):
    """sts, iam: the request is not signed."""


class IncompleteSignature(ServiceError, status=400):
    """sts, iam: the Authorization header lacks a part."""


class SignatureDoesNotMatch(ServiceError, status=403):
    """sts, iam, s3: the signature does not fit the request."""


class InvalidAccessKeyId(ServiceError, status=403):
    """s3: the access key is none of ours."""


class RequestTimeTooSkewed(ServiceError, status=403):
    """s3: the request was signed too long ago, or in the future."""


class AccessDenied(ServiceError, status=403):
    """s3: anonymous, or a presigned URL that has expired."""


class InvalidToken(ServiceError, status=400):
    """s3: a session token, none of which are ours."""


class InvalidRequest(ServiceError, status=400):
    """s3: a kind of signature that is not served."""


class AuthorizationHeaderMalformed(ServiceError, status=400):
    """s3: the Authorization header lacks a part."""


class AuthorizationQueryParametersError(ServiceError, status=400):
    """s3: a presigned URL lacks a part."""


class XAmzContentSHA256Mismatch(ServiceError, status=400):
    """s3: the body is not the one that was signed."""


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

# What was wrong -> the error's class, and its text; "" means the exception's own text.
_Answers = dict[type[claims.SignatureError], tuple[type[ServiceError], str]]

_JSON_ANSWERS: _Answers = {
    claims.SignatureMismatch: (InvalidSignatureException, _MISMATCH),
    claims.ClockSkewed: (InvalidSignatureException, ""),
    claims.UnknownAccessKey: (UnrecognizedClientException, _TOKEN),
    claims.SessionTokenGiven: (UnrecognizedClientException, _TOKEN),
    claims.MissingSignature: (
        MissingAuthenticationTokenException,
        "Missing Authentication Token",
    ),
    claims.IncompleteSignature: (IncompleteSignatureException, ""),
}
_QUERY_ANSWERS: _Answers = {
    claims.SignatureMismatch: (SignatureDoesNotMatch, _MISMATCH),
    claims.ClockSkewed: (SignatureDoesNotMatch, ""),
    claims.UnknownAccessKey: (InvalidClientTokenId, _TOKEN),
    claims.SessionTokenGiven: (InvalidClientTokenId, _TOKEN),
    claims.MissingSignature: (
        MissingAuthenticationToken,
        "Request is missing Authentication Token",
    ),
    claims.IncompleteSignature: (IncompleteSignature, ""),
}
_S3_ANSWERS: _Answers = {
    claims.SignatureMismatch: (SignatureDoesNotMatch, _S3_MISMATCH),
    claims.HeadersNotSigned: (AccessDenied, ""),
    claims.PayloadMismatch: (XAmzContentSHA256Mismatch, ""),
    claims.ClockSkewed: (RequestTimeTooSkewed, _S3_SKEW),
    claims.Expired: (AccessDenied, "Request has expired"),
    claims.UnknownAccessKey: (InvalidAccessKeyId, _S3_KEY),
    claims.SessionTokenGiven: (InvalidToken, _S3_TOKEN),
    claims.MissingSignature: (AccessDenied, "Access Denied"),
    claims.IncompleteSignature: (AuthorizationHeaderMalformed, ""),
    claims.IncompleteQuery: (AuthorizationQueryParametersError, ""),
    claims.UnsupportedSignature: (InvalidRequest, ""),
}


def for_signature(exc: claims.SignatureError, service: str) -> ServiceError:
    """AWS's own error of that service for a request whose signature was refused.

    `service` is the name in the signature's scope, or "sagemaker-runtime" for InvokeEndpoint,
    which answers 403 where services that speak JSON 1.1 answer 400.
    """
    match service:
        case "s3":
            answers = _S3_ANSWERS
        case "sts" | "iam":
            answers = _QUERY_ANSWERS
        case _:
            answers = _JSON_ANSWERS
    kind, text = next(answers[cls] for cls in type(exc).__mro__ if cls in answers)
    error = kind(text or str(exc))
    if service == "sagemaker-runtime":
        error.status = 403
    if service == "s3" and isinstance(exc, claims.UnknownAccessKey):
        error.members["AWSAccessKeyId"] = exc.access_key
    return error
