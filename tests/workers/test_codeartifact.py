"""pip's index in CodeArtifact, asked of a server that answers as AWS does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from modelplex.workers.codeartifact import index_url
from modelplex.workers.errors import LoadFailed

ARN = "arn:aws:codeartifact:eu-west-1:123456789012:repository/acme/wheels"


class Aws(BaseHTTPRequestHandler):
    """The two operations that are needed; for one domain only."""

    def do_GET(self) -> None:
        self._answer({"repositoryEndpoint": "https://acme.example/pypi/wheels/"})

    def do_POST(self) -> None:
        self._answer({"authorizationToken": "t0ken", "expiration": 1})

    def _answer(self, content: object) -> None:
        known = "domain=acme&domain-owner=123456789012" in self.path
        self.send_response(200 if known else 404)
        body = json.dumps(content if known else {"message": "no such domain"}).encode()
        self.send_header("content-length", str(len(body)))
        self.send_header("x-amzn-errortype", "ResourceNotFoundException")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server in AWS's place."""
    server = HTTPServer(("127.0.0.1", 0), Aws)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_CODEARTIFACT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    yield
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_index_has_a_token_in_it():
    """And pip's folder behind the repository's endpoint."""
    assert index_url(ARN) == "https://aws:t0ken@acme.example/pypi/wheels/simple/"


def test_a_refusal_fails_the_load():
    """With what AWS says."""
    with pytest.raises(LoadFailed, match="no such domain"):
        index_url(ARN.replace("acme", "other"))


def test_another_arn_is_refused():
    """Without asking anybody."""
    with pytest.raises(LoadFailed, match="no CodeArtifact repository's ARN"):
        index_url("arn:aws:s3:::bucket")
