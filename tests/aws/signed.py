"""Requests signed by botocore, as a server gets them, and strategies that draw odd ones."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from urllib.parse import quote, urlsplit

from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from modelplex.aws import signatures
from modelplex.aws.signatures import Header, Keys, Verifier

KEYS = Keys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
HOST = "127.0.0.1:8321"
EMPTY = signatures.payload_hash(b"")

MANY = settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)

Signer = Callable[..., auth.SigV4Auth]


def verifier(keys: Keys = KEYS, clock_skew_s: float = 300.0) -> Verifier:
    """A fresh verifier of the test's keys."""
    return Verifier(keys, clock_skew_s)


class Sent:
    """A request as botocore signed it, as a server gets it."""

    def __init__(self, signer: Signer, service: str, request: AWSRequest) -> None:
        request.headers["Host"] = HOST
        credentials = Credentials(KEYS.access_key, KEYS.secret_key)
        signer(credentials, service, "us-west-2").add_auth(request)
        parts = urlsplit(request.url)
        self.method: str = request.method
        self.target = (parts.path + ("?" + parts.query if parts.query else "")).encode()
        self.headers: list[Header] = [
            (name.lower().encode(), value.encode()) for name, value in request.headers.items()
        ]
        self.body_hash: str | None = None
        if service != "s3":
            self.body_hash = signatures.payload_hash(request.body or b"")
        stamp = str(request.context["timestamp"])
        signed_at = datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ")
        self.now = signed_at.replace(tzinfo=datetime.UTC).timestamp()

    def verify(self, by: Verifier | None = None) -> signatures.Signed:
        """What our side makes of it."""
        by = by or verifier()
        return by.verify(self.method, self.target, self.headers, self.body_hash, self.now)

    def header(self, name: bytes) -> bytes:
        """The value of one header."""
        return dict(self.headers)[name]

    def replace(self, name: bytes, value: bytes) -> None:
        """Changes one header."""
        self.headers = [(key, value if key == name else old) for key, old in self.headers]


def sent(
    signer: Signer = auth.SigV4Auth,
    service: str = "sagemaker",
    path: str = "/endpoints/demo/invocations",
    *,
    method: str = "POST",
    headers: dict[str, str] | None = None,
    body: bytes = b"{}",
) -> Sent:
    """One signed request."""
    request = AWSRequest(method, f"http://{HOST}{path}", headers=headers, data=body)
    return Sent(signer, service, request)


def s3(path: str = "/bucket/key", method: str = "PUT", body: bytes = b"data") -> Sent:
    """One signed request to S3."""
    return sent(auth.S3SigV4Auth, "s3", path, method=method, body=body)


TEXT = st.text(
    st.one_of(
        st.sampled_from("/./..//+=&%?~ -_aé€😀"),
        st.characters(codec="utf-8", min_codepoint=33, exclude_categories=["Cc"]),
    ),
    max_size=20,
)
PATHS = TEXT.map(lambda text: "/" + quote(text, safe="/~+=@:!$,;()*'"))
QUERIES = st.lists(st.tuples(TEXT, TEXT), max_size=4).map(
    lambda pairs: "&".join(f"{quote(a, safe='~')}={quote(b, safe='~')}" for a, b in pairs)
)
RAW_QUERIES = st.sampled_from(["", "?acl", "?a&b", "?a=b=c", "?a=1+2&a=0", "?b=&a", "?a=/x:y"])
VALUES = st.text(st.sampled_from("ab  ,;=\t'\"/"), min_size=1, max_size=12).filter(
    lambda value: value == value.strip()
)
HEADERS = st.dictionaries(
    st.sampled_from(["X-Amz-Meta-One", "X-Amzn-SageMaker-Target-Model", "Content-Type", "Accept"]),
    VALUES,
)
METHODS = st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD"])
QUERIED = st.one_of(QUERIES.map(lambda query: f"?{query}" if query else ""), RAW_QUERIES)
