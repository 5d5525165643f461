"""Errors: botocore's models agree with our classes, and its parsers read our answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import boto3
import botocore.session
import pytest
from botocore import parsers
from botocore.config import Config
from botocore.exceptions import ClientError

from modelplex.aws import errors
from modelplex.aws.claims import (
    ClockSkewed,
    Expired,
    HeadersNotSigned,
    IncompleteQuery,
    IncompleteSignature,
    MissingSignature,
    PayloadMismatch,
    SessionTokenGiven,
    SignatureError,
    SignatureMismatch,
    UnknownAccessKey,
    UnsupportedSignature,
)
from modelplex.aws.errors import Protocol, ServiceError, respond

LOADER = botocore.session.get_session().get_component("data_loader")

DECLARED = {
    "sagemaker": {
        "ResourceLimitExceeded": errors.ResourceLimitExceeded,
    },
    "sagemaker-runtime": {
        "InternalDependencyException": errors.InternalDependencyException,
        "InternalFailure": errors.InternalFailure,
        "ModelError": errors.ModelError,
        "ModelNotReadyException": errors.ModelNotReadyException,
        "ServiceUnavailable": errors.ServiceUnavailable,
        "ValidationError": errors.ValidationError,
    },
    "logs": {
        "InvalidParameterException": errors.InvalidParameterException,
        "ResourceNotFoundException": errors.ResourceNotFoundException,
    },
    "ecr": {
        "InvalidParameterException": errors.InvalidParameterException,
        "RepositoryNotFoundException": errors.RepositoryNotFoundException,
        "RepositoryAlreadyExistsException": errors.RepositoryAlreadyExistsException,
        "RepositoryNotEmptyException": errors.RepositoryNotEmptyException,
        "ImageNotFoundException": errors.ImageNotFoundException,
        "TooManyTagsException": errors.TooManyTagsException,
    },
}

# The service that a boto3 client speaks to -> how its errors are written.
PROTOCOLS = {
    "sagemaker": Protocol.JSON,
    "logs": Protocol.JSON,
    "ecr": Protocol.JSON,
    "sagemaker-runtime": Protocol.REST_JSON,
    "sts": Protocol.QUERY,
    "iam": Protocol.QUERY,
    "s3": Protocol.S3,
}
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "sagemaker": ("describe_endpoint", {"EndpointName": "demo"}),
    "logs": ("describe_log_groups", {}),
    "ecr": ("describe_repositories", {}),
    "sagemaker-runtime": ("invoke_endpoint", {"EndpointName": "demo", "Body": b""}),
    "sts": ("get_caller_identity", {}),
    "iam": ("get_role", {"RoleName": "demo"}),
    "s3": ("get_object", {"Bucket": "bucket", "Key": "key"}),
}


def all_classes() -> list[type[ServiceError]]:
    """Every error there is."""
    return [value for value in vars(errors).values() if _is_error(value)]


def _is_error(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, ServiceError) and value is not ServiceError


def made(kind: type[ServiceError], message: str) -> ServiceError:
    """One error of the class."""
    if kind is errors.ModelError:
        return errors.ModelError(message, 500, "boom", "arn:aws:logs:::x")
    if kind is errors.NotImplementedByModelplex:
        return errors.NotImplementedByModelplex("sagemaker", "CreateHub", ["CreateModel"])
    if kind is errors.SignatureRefused:
        return errors.SignatureRefused("AccessDenied", 403, message)
    return kind(message)


@pytest.mark.parametrize("service", DECLARED)
def test_declared_errors_are_ours(service: str) -> None:
    """Code, status and members of each declared error are those of botocore's model."""
    shapes = LOADER.load_service_model(service, "service-2")["shapes"]
    for name, kind in DECLARED[service].items():
        shape = shapes[name]
        error = made(kind, "text")
        assert error.code == shape.get("error", {}).get("code", name)
        assert error.status == shape.get("error", {}).get("httpStatusCode", 400)
        written = {*error.members, error.message_member} - {"message"}
        assert written == set(shape["members"]) - {"message"}


@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize("kind", all_classes(), ids=lambda kind: kind.__name__)
def test_botocore_reads_every_error(kind: type[ServiceError], protocol: Protocol) -> None:
    """In every protocol botocore finds code, message and request id."""
    message = "a <b> & 'ü' \x01 ]]>"
    error = made(kind, message)
    status, headers, body = respond(error, protocol, "id-1")
    name = {Protocol.S3: "rest-xml"}.get(protocol, protocol.value)
    response = {
        "status_code": status,
        "headers": {key.decode(): value.decode() for key, value in headers},
        "body": body,
        "context": {"operation_name": "X"},
    }
    parsed = parsers.create_parser(name).parse(response, None)
    assert parsed["Error"]["Code"] == error.code
    clean = error.message.replace("\x01", "?" if b"<Error>" in body else "\x01")
    assert parsed["Error"]["Message"] == clean
    assert parsed["ResponseMetadata"]["HTTPStatusCode"] == kind.status
    assert parsed["ResponseMetadata"]["RequestId"] == "id-1"


@contextmanager
def client_of(service: str, error: ServiceError) -> Iterator[Any]:
    """A boto3 client whose server answers everything with that error."""
    status, headers, body = respond(error, PROTOCOLS[service], "request-1")

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            for name, value in [*headers, (b"content-length", str(len(body)).encode())]:
                self.send_header(name.decode(), value.decode())
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        client = boto3.client(
            service,
            region_name="us-west-2",
            endpoint_url=f"http://127.0.0.1:{server.server_port}",
            aws_access_key_id="a",
            aws_secret_access_key="b",
            config=Config(retries={"max_attempts": 0}, proxies={}),
        )
        try:
            yield client
        finally:
            client.close()
            server.shutdown()
            thread.join()


def raised(service: str, error: ServiceError) -> tuple[Any, ClientError]:
    """The client, and what its call raised."""
    method, arguments = CALLS[service]
    with client_of(service, error) as client:
        with pytest.raises(ClientError) as caught:
            getattr(client, method)(**arguments)
        return client, caught.value


def test_a_model_error_reaches_boto3_whole() -> None:
    """`except client.exceptions.ModelError` works, with all members at the top."""
    error = errors.ModelError("Received server error (500)", 500, "boom", "arn:aws:logs:::x")
    client, caught = raised("sagemaker-runtime", error)
    assert isinstance(caught, client.exceptions.ModelError)
    answer = caught.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert answer["OriginalStatusCode"] == 500
    assert answer["OriginalMessage"] == "boom"
    assert answer["LogStreamArn"] == "arn:aws:logs:::x"
    assert answer["Error"]["Message"] == answer["Message"] == "Received server error (500)"


@pytest.mark.parametrize(
    ("service", "kind", "name"),
    [(service, kind, name) for service, kinds in DECLARED.items() for name, kind in kinds.items()],
)
def test_a_declared_error_is_raised_as_its_own_class(
    service: str, kind: type[ServiceError], name: str
) -> None:
    """boto3 raises `client.exceptions.NAME` for every error that its model declares."""
    client, caught = raised(service, made(kind, "text"))
    assert isinstance(caught, getattr(client.exceptions, name))
    assert caught.response["Error"]["Message"] == "text"


def test_an_operation_that_is_not_served_is_named() -> None:
    """501 with the operation and what there is instead, not tried again."""
    error = errors.NotImplementedByModelplex("sagemaker", "CreateHub", ["ListModels", "AddTags"])
    _, caught = raised("sagemaker", error)
    assert caught.response["Error"]["Code"] == "NotImplemented"
    assert caught.response["Error"]["Message"] == (
        "modelplex does not implement CreateHub of sagemaker. Implemented are: AddTags, ListModels."
    )


# -- signatures ---------------------------------------------------------------------------------

TOKEN = "The security token included in the request is invalid."
WRONG = [
    ("sagemaker", UnknownAccessKey("X"), "UnrecognizedClientException", 400, TOKEN),
    ("sagemaker-runtime", UnknownAccessKey("X"), "UnrecognizedClientException", 403, TOKEN),
    ("logs", SessionTokenGiven("x"), "UnrecognizedClientException", 400, TOKEN),
    ("sts", UnknownAccessKey("X"), "InvalidClientTokenId", 403, TOKEN),
    ("s3", UnknownAccessKey("X"), "InvalidAccessKeyId", 403, "does not exist in our"),
    ("sagemaker", SignatureMismatch(), "InvalidSignatureException", 400, "Secret Access"),
    ("sagemaker-runtime", PayloadMismatch(), "InvalidSignatureException", 403, "does not"),
    ("iam", SignatureMismatch(), "SignatureDoesNotMatch", 403, "Secret Access Key"),
    ("s3", SignatureMismatch(), "SignatureDoesNotMatch", 403, "Check your key and"),
    ("s3", PayloadMismatch("body"), "XAmzContentSHA256Mismatch", 400, "body"),
    ("s3", HeadersNotSigned("x-amz-acl"), "AccessDenied", 403, "x-amz-acl"),
    (
        "sagemaker",
        ClockSkewed("Signature expired"),
        "InvalidSignatureException",
        400,
        "Signature expired",
    ),
    ("sts", Expired("Signature expired"), "SignatureDoesNotMatch", 403, "Signature expired"),
    ("s3", ClockSkewed("x"), "RequestTimeTooSkewed", 403, "too large"),
    ("s3", Expired("x"), "AccessDenied", 403, "Request has expired"),
    ("sagemaker", MissingSignature(), "MissingAuthenticationTokenException", 400, "Missing"),
    ("sts", MissingSignature(), "MissingAuthenticationToken", 403, "Request is missing"),
    ("s3", MissingSignature(), "AccessDenied", 403, "Access Denied"),
    ("sagemaker", UnsupportedSignature("v2"), "IncompleteSignatureException", 400, "v2"),
    ("iam", IncompleteQuery("lacks"), "IncompleteSignature", 400, "lacks"),
    ("s3", IncompleteSignature("lacks"), "AuthorizationHeaderMalformed", 400, "lacks"),
    ("s3", IncompleteQuery("lacks"), "AuthorizationQueryParametersError", 400, "lacks"),
    ("s3", UnsupportedSignature("v2"), "InvalidRequest", 400, "v2"),
    ("s3", SessionTokenGiven("x"), "InvalidToken", 400, "token is malformed"),
]


@pytest.mark.parametrize(("service", "exc", "code", "status", "text"), WRONG)
def test_a_refused_signature_has_aws_own_code(
    service: str, exc: SignatureError, code: str, status: int, *, text: str
) -> None:
    """Each service has its own code, status and text for the same fault."""
    error = errors.for_signature(exc, service)
    assert (error.code, error.status) == (code, status)
    assert text in error.message
    assert respond(error, PROTOCOLS[service], "id")[0] == status


def test_s3_names_the_unknown_key() -> None:
    """boto3 shows which key was wrong."""
    error = errors.for_signature(UnknownAccessKey("AKIDX"), "s3")
    _, caught = raised("s3", error)
    assert caught.response["Error"]["AWSAccessKeyId"] == "AKIDX"


def test_a_status_of_the_runtime_is_no_status_of_others() -> None:
    """403 for one answer does not change the next one."""
    errors.for_signature(UnknownAccessKey("X"), "sagemaker-runtime")
    assert errors.for_signature(UnknownAccessKey("X"), "sagemaker").status == 400
