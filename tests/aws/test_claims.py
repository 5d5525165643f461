"""Signatures taken apart: each way to write a bad one has its own error."""

from __future__ import annotations

import pytest
from botocore import auth

from modelplex.aws import claims, signatures
from tests.aws.signed import s3, sent, verifier


def test_unsigned_is_told_from_badly_signed() -> None:
    """No signature at all, a part missing, another algorithm: three errors."""
    request = sent()
    whole = request.headers
    request.headers = [pair for pair in whole if pair[0] != b"authorization"]
    with pytest.raises(claims.MissingSignature):
        request.verify()
    for bad, kind in [
        (b"AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request", claims.IncompleteSignature),
        (
            b"AWS4-HMAC-SHA256 Credential=a,SignedHeaders=b,Signature=c",
            claims.IncompleteSignature,
        ),
        (b"AWS4-HMAC-SHA256", claims.IncompleteSignature),
        (b"AWS AKID:signature", claims.UnsupportedSignature),
        (b"Bearer token", claims.UnsupportedSignature),
        (b"\xff", claims.UnsupportedSignature),
    ]:
        request.headers = whole
        request.replace(b"authorization", bad)
        with pytest.raises(kind):
            request.verify()


@pytest.mark.parametrize("date", [b"yesterday", b"20261301T000000Z", b"2026", b"\xff", b""])
def test_an_unreadable_date_is_refused(date: bytes) -> None:
    """A date that is none is the client's mistake, not a crash."""
    request = sent()
    request.replace(b"x-amz-date", date)
    with pytest.raises(claims.IncompleteSignature):
        request.verify()


def test_the_scope_must_have_the_date_of_the_request() -> None:
    """A signing key of another day does not sign today's request."""
    request = sent()
    authorization = request.header(b"authorization")
    day = authorization.split(b"/")[1]
    request.replace(b"authorization", authorization.replace(day, b"20200101"))
    with pytest.raises(claims.IncompleteSignature, match="20200101"):
        request.verify()


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        (b"X-Amz-Expires=3600", b"X-Amz-Expires=604801", claims.IncompleteQuery),
        (b"X-Amz-Expires=3600", b"X-Amz-Expires=0", claims.IncompleteQuery),
        (b"X-Amz-Expires=3600", b"X-Amz-Expires=soon", claims.IncompleteQuery),
        (b"X-Amz-Expires=3600", b"X-Amz-Expires=3601", claims.SignatureMismatch),
        (b"X-Amz-Expires=3600&", b"", claims.IncompleteQuery),
        (
            b"X-Amz-Algorithm=AWS4-HMAC-SHA256",
            b"X-Amz-Algorithm=x",
            claims.UnsupportedSignature,
        ),
        (b"X-Amz-Date=2", b"X-Amz-Date=x", claims.IncompleteSignature),
        (b"&X-Amz-Signature=", b"&Other=", claims.IncompleteQuery),
    ],
)
def test_a_bad_presigned_url_is_refused(
    old: bytes, new: bytes, kind: type[claims.SignatureError]
) -> None:
    """Each parameter is needed and read strictly."""
    request = sent(auth.S3SigV4QueryAuth, "s3", "/bucket/key", method="GET", body=b"")
    assert old in request.target
    request.target = request.target.replace(old, new)
    with pytest.raises(kind):
        request.verify()


def test_two_signatures_are_one_too_many() -> None:
    """Header and query cannot both sign; otherwise one of them would go unchecked."""
    request = sent(auth.S3SigV4QueryAuth, "s3", "/bucket/key", method="GET", body=b"")
    request.headers.append((b"authorization", s3().header(b"authorization")))
    with pytest.raises(claims.IncompleteSignature, match="Only one auth mechanism"):
        request.verify()


def test_signature_version_2_is_named() -> None:
    """An old presigned URL is told that its kind is not served."""
    query = b"AWSAccessKeyId=AKIDEXAMPLE&Signature=abc&Expires=1"
    with pytest.raises(claims.UnsupportedSignature, match="AWS4-HMAC-SHA256"):
        verifier().verify("GET", b"/b/k?" + query, [(b"host", b"h")], None, 0.0)


def test_the_scope_is_read_without_a_check() -> None:
    """Which service a request is for is known before anything is verified."""
    request = sent()
    found = signatures.scope(request.headers, b"")
    assert found is not None
    assert (found.access_key, found.service) == ("AKIDEXAMPLE", "sagemaker")
    presigned = sent(auth.S3SigV4QueryAuth, "s3", "/b/k", method="GET", body=b"")
    found = signatures.scope([], presigned.target.partition(b"?")[2])
    assert found is not None
    assert found.service == "s3"


def test_no_scope_where_none_can_be_read() -> None:
    """An anonymous or garbled request has no scope, and that is no error yet."""
    assert signatures.scope([], b"") is None
    assert signatures.scope([(b"authorization", b"Basic abc")], b"") is None
