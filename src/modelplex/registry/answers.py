"""Refusals as the registry's API writes them, in ECR's words."""

from __future__ import annotations

import json

from modelplex.http.messages import Header, Response


class Refused(Exception):
    """A request that goes no further; `code` is one of the API's, which `docker` shows."""

    def __init__(self, status: int, code: str, message: str, *headers: Header) -> None:
        super().__init__(message)
        self.status, self.code, self.headers = status, code, headers

    def response(self) -> Response:
        """The answer that a client gets."""
        body = json.dumps({"errors": [{"code": self.code, "message": str(self)}]}).encode()
        version = (b"docker-distribution-api-version", b"registry/2.0")
        kind = (b"content-type", b"application/json; charset=utf-8")
        return Response(self.status, [kind, version, *self.headers], body)


def no_credentials(address: str) -> Refused:
    """401, with the question that makes a client send its password."""
    challenge = f'Basic realm="http://{address}/",service="ecr.amazonaws.com"'
    text = (
        "no basic auth credentials: aws ecr get-login-password | "
        f"docker login --username AWS --password-stdin {address}"
    )
    return Refused(401, "UNAUTHORIZED", text, (b"www-authenticate", challenge.encode()))


def expired() -> Refused:
    """A password that was good."""
    text = "Your authorization token has expired. Reauthenticate and try again."
    return Refused(403, "DENIED", text)


def no_repository(name: str, account: str) -> Refused:
    """ECR makes no repositories by itself: they are created before the first push."""
    text = f"The repository with name '{name}' does not exist in the registry with id '{account}'"
    return Refused(404, "NAME_UNKNOWN", text)


def immutable(name: str, tag: str) -> Refused:
    """The tag belongs to another image already."""
    text = (
        f"The image tag '{tag}' already exists in the '{name}' repository and cannot be "
        "overwritten because the repository is immutable."
    )
    return Refused(400, "TAG_INVALID", text)


def no_such_path(method: str, path: bytes) -> Refused:
    """The API has no such path, or its names are written in a way that nobody writes them."""
    text = f"The registry has no {method} {path[:256].decode('latin-1')}."
    return Refused(404, "UNSUPPORTED", text)


def unavailable(what: str) -> Refused:
    """A part behind the door is being started again. Clients try 503 again by themselves."""
    return Refused(503, "UNAVAILABLE", f"{what} does not answer. Please try again.")
