"""Signatures: what botocore signs is believed, what was changed on the way is not."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelplex.aws import claims, forms, signatures
from modelplex.aws.signatures import Header, Keys
from tests.aws.signed import (
    EMPTY,
    HEADERS,
    HOST,
    KEYS,
    MANY,
    METHODS,
    PATHS,
    QUERIED,
    QUERIES,
    Sent,
    Signer,
    s3,
    sent,
    verifier,
)

# -- what botocore signs ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signer", "service"),
    [(auth.SigV4Auth, "sagemaker"), (auth.S3SigV4Auth, "s3")],
)
@MANY
@given(method=METHODS, path=PATHS, query=QUERIED, headers=HEADERS, body=st.binary(max_size=20))
def test_what_botocore_signs_in_headers_is_believed(
    *,
    signer: Signer,
    service: str,
    method: str,
    path: str,
    query: str,
    headers: dict[str, str],
    body: bytes,
) -> None:
    """Any path, query and header that botocore signs verifies here."""
    signed = sent(signer, service, path + query, method=method, headers=headers, body=body).verify()
    assert (signed.service, signed.region, signed.presigned) == (service, "us-west-2", False)
    assert signed.payload_hash == signatures.payload_hash(body)


@pytest.mark.parametrize(
    ("signer", "service"),
    [(auth.SigV4QueryAuth, "sts"), (auth.S3SigV4QueryAuth, "s3")],
)
@MANY
@given(method=METHODS, path=PATHS, query=QUERIES)
def test_what_botocore_presigns_is_believed(
    signer: Signer, service: str, method: str, path: str, query: str
) -> None:
    """Any presigned URL of botocore verifies here."""
    signed = sent(signer, service, f"{path}?{query}", method=method, body=b"").verify()
    assert signed.presigned
    assert signed.payload_hash == ("UNSIGNED-PAYLOAD" if service == "s3" else EMPTY)


def test_repeated_headers_are_joined() -> None:
    """Two headers of one name count as one with a comma."""
    request = AWSRequest("POST", f"http://{HOST}/", data=b"")
    request.headers.add_header("X-Amz-Meta-A", "one   two")
    request.headers.add_header("X-Amz-Meta-A", " three")
    assert Sent(auth.SigV4Auth, "sagemaker", request).verify()


def test_the_date_header_will_do() -> None:
    """Without x-amz-date the Date header says when; botocore signs so where there is one."""
    request = sent(headers={"Date": "to be replaced"})
    assert b"x-amz-date" not in dict(request.headers)
    assert request.verify().date.endswith("Z")


def test_a_stricter_encoding_than_sent_is_believed() -> None:
    """A client may sign the encoded form and send another that means the same."""
    request = s3("/bucket/a%28b%29?prefix=x%2Fy%20z")
    request.target = b"/bucket/a(b)?prefix=x/y+z"
    assert request.verify().service == "s3"


# -- AWS's documented examples ------------------------------------------------------------------


def test_the_example_of_the_signature_process() -> None:
    """AWS's "get-vanilla" example of the Signature Version 4 test suite."""
    authorization = (
        b"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        b"SignedHeaders=host;x-amz-date, "
        b"Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
    )
    headers = [
        (b"host", b"example.amazonaws.com"),
        (b"x-amz-date", b"20150830T123600Z"),
        (b"authorization", authorization),
    ]
    now = datetime.datetime(2015, 8, 30, 12, 36, tzinfo=datetime.UTC).timestamp()
    assert verifier().verify("GET", b"/", headers, EMPTY, now).service == "service"


S3_KEYS = Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
S3_NOW = datetime.datetime(2013, 5, 24, tzinfo=datetime.UTC).timestamp()


def test_the_example_of_a_ranged_get_from_s3() -> None:
    """AWS's example "GET Object" of the S3 API reference."""
    authorization = (
        b"AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
        b"SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
        b"Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )
    headers = [
        (b"host", b"examplebucket.s3.amazonaws.com"),
        (b"range", b"bytes=0-9"),
        (b"x-amz-content-sha256", EMPTY.encode()),
        (b"x-amz-date", b"20130524T000000Z"),
        (b"authorization", authorization),
    ]
    assert verifier(S3_KEYS).verify("GET", b"/test.txt", headers, None, S3_NOW).region


def test_the_example_of_a_presigned_url() -> None:
    """AWS's example of query string authentication in the S3 API reference."""
    target = (
        b"/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256"
        b"&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
        b"&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        b"&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )
    headers = [(b"host", b"examplebucket.s3.amazonaws.com")]
    assert verifier(S3_KEYS).verify("GET", target, headers, None, S3_NOW + 86_399).presigned
    with pytest.raises(claims.Expired):
        verifier(S3_KEYS).verify("GET", target, headers, None, S3_NOW + 86_401)


# -- what is refused ----------------------------------------------------------------------------


CHANGED = [b"x-amz-date", b"authorization", b"host", b"content-type", b"accept"]


def tampered() -> Iterator[tuple[str, Callable[[Sent], None]]]:
    """Every part of a request, changed."""

    def change(**changes: object) -> Callable[[Sent], None]:
        return lambda request: request.__dict__.update(changes)

    def signature(request: Sent) -> None:
        value = request.header(b"authorization")
        request.replace(b"authorization", value[:-1] + (b"1" if value[-1:] == b"0" else b"0"))

    def region(request: Sent) -> None:
        value = request.header(b"authorization").replace(b"us-west-2", b"us-west-1")
        request.replace(b"authorization", value)

    yield "method", change(method="PUT")
    yield "path", change(target=b"/endpoints/other/invocations")
    yield "query", change(target=b"/endpoints/demo/invocations?a=b")
    yield "body", change(body_hash=EMPTY)
    yield "host", lambda request: request.replace(b"host", b"elsewhere")
    yield "header", lambda request: request.replace(b"x-amzn-sagemaker-target-model", b"b.tar.gz")
    yield "added", lambda request: request.headers.append((b"accept", b"x"))
    yield "signature", signature
    yield "region", region


@pytest.mark.parametrize(
    ("part", "change"), [pytest.param(*pair, id=pair[0]) for pair in tampered()]
)
def test_a_change_on_the_way_is_refused(part: str, change: Callable[[Sent], None]) -> None:
    """No part of a signed request can be changed without the key."""
    request = sent(headers={"X-Amzn-SageMaker-Target-Model": "a.tar.gz", "Accept": "*/*"})
    by = verifier()
    request.verify(by)
    change(request)
    for each in (by, verifier()):  # one that has seen its like before, and one that has not
        with pytest.raises(claims.SignatureMismatch):
            request.verify(each)


@settings(MANY, max_examples=80)
@given(
    first=HEADERS,
    second=HEADERS,
    bodies=st.tuples(st.binary(max_size=9), st.binary(max_size=9)),
    change=st.sampled_from([(name, value) for name in CHANGED for value in (b"", b"x", b"2x")]),
    later_s=st.sampled_from([0.0, 200.0, -200.0, 301.0, -301.0, 86400.0]),
)
def test_what_was_seen_before_is_believed_no_more_easily(
    first: dict[str, str],
    second: dict[str, str],
    bodies: tuple[bytes, bytes],
    change: tuple[bytes, bytes],
    later_s: float,
) -> None:
    """A verifier that knows a client's requests says of the next one what a fresh one says."""
    by = verifier()
    sent(headers=first, body=bodies[0]).verify(by)
    request = sent(headers=second, body=bodies[1])
    assert request.verify(by) == request.verify()
    name, value = change
    request.now += later_s
    if value:
        request.replace(name, value)
    assert outcome(request, by) == outcome(request, verifier())


def outcome(request: Sent, by: signatures.Verifier) -> object:
    """What is vouched for, or the kind and words of the refusal."""
    try:
        return request.verify(by)
    except claims.SignatureError as error:
        return type(error), str(error)


@MANY
@given(data=st.data(), path=PATHS, query=QUERIES)
def test_a_changed_target_is_refused(data: st.DataObject, path: str, query: str) -> None:
    """One letter more anywhere in the path or query of a presigned URL breaks it."""
    request = sent(auth.S3SigV4QueryAuth, "s3", f"{path}?{query}", method="GET", body=b"")
    split = request.target.index(b"X-Amz-Signature=")
    place = data.draw(st.integers(1, split - 1))
    request.target = request.target[:place] + b"q" + request.target[place:]
    with pytest.raises(claims.SignatureError):
        request.verify()


def test_another_secret_is_refused() -> None:
    """The right access key with a wrong secret is a mismatch, a wrong access key unknown."""
    with pytest.raises(claims.SignatureMismatch):
        sent().verify(verifier(Keys(KEYS.access_key, "wrong")))
    with pytest.raises(claims.UnknownAccessKey, match="AKIDEXAMPLE"):
        sent().verify(verifier(Keys("AKIDOTHER", KEYS.secret_key)))


def test_a_skewed_clock_is_refused_in_aws_words() -> None:
    """Signed more than the allowed skew ago, or that far in the future."""
    request = sent()
    request.headers = [
        (key, value) for key, value in request.headers if key not in (b"x-amz-date",)
    ] + [(b"x-amz-date", b"20260101T000000Z")]
    authorization = request.header(b"authorization")
    today = authorization.split(b"/")[1]
    request.replace(b"authorization", authorization.replace(today, b"20260101"))
    request.now = datetime.datetime(2026, 1, 1, 0, 15, tzinfo=datetime.UTC).timestamp()
    with pytest.raises(claims.ClockSkewed) as caught:
        request.verify()
    assert str(caught.value) == (
        "Signature expired: 20260101T000000Z is now earlier than 20260101T001000Z "
        "(20260101T001500Z - 5 min.)"
    )
    request.now = datetime.datetime(2025, 12, 31, 23, 45, tzinfo=datetime.UTC).timestamp()
    with pytest.raises(claims.ClockSkewed) as caught:
        request.verify()
    assert str(caught.value) == (
        "Signature not yet current: 20260101T000000Z is still later than 20251231T235000Z "
        "(20251231T234500Z + 5 min.)"
    )


def test_a_date_within_the_skew_is_believed() -> None:
    """Up to the allowed skew, on both sides."""
    request = sent()
    signed_at = request.now
    for request.now in (signed_at - 300, signed_at + 300):
        assert request.verify()


@pytest.mark.parametrize("name", [b"x-amz-target", b"x-amz-copy-source", b"x-amz-acl"])
def test_an_unsigned_amz_header_is_refused(name: bytes) -> None:
    """Nobody can add an x-amz- header to somebody else's request."""
    request = sent()
    request.headers.append((name, b"value"))
    with pytest.raises(claims.HeadersNotSigned, match=name.decode()):
        request.verify()


def test_the_host_must_be_signed() -> None:
    """A signature without the host is good for any server."""
    request = sent()
    authorization = request.header(b"authorization").replace(b"host;", b"")
    request.replace(b"authorization", authorization)
    with pytest.raises(claims.HeadersNotSigned, match="host"):
        request.verify()


def test_a_session_token_is_refused() -> None:
    """None are issued here, so a token is from elsewhere."""
    request = sent(headers={"X-Amz-Security-Token": "token"})
    with pytest.raises(claims.SessionTokenGiven):
        request.verify()


# -- payload hashes -----------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"])
def test_s3_words_for_a_body_are_passed_on(word: str) -> None:
    """S3's body need not be hashed; what was stated comes back, for the store to check."""
    headers = sign_s3(word)
    signed = verifier().verify("PUT", b"/bucket/key", headers, None, 1e9)
    assert signed.payload_hash == word
    changed = [(n, EMPTY.encode() if n == b"x-amz-content-sha256" else v) for n, v in headers]
    with pytest.raises(claims.SignatureMismatch):
        verifier().verify("PUT", b"/bucket/key", changed, None, 1e9)


def test_a_stated_hash_must_be_the_body_s() -> None:
    """Where the body is at hand, neither a wrong hash nor an unsigned body is taken."""
    for word in ("UNSIGNED-PAYLOAD", EMPTY):
        with pytest.raises(claims.PayloadMismatch):
            verifier().verify(
                "PUT", b"/bucket/key", sign_s3(word), signatures.payload_hash(b"body"), 1e9
            )


def test_s3_needs_the_hash_header() -> None:
    """Without x-amz-content-sha256 nobody knows which body was signed."""
    headers = [pair for pair in sign_s3(EMPTY) if pair[0] != b"x-amz-content-sha256"]
    with pytest.raises(claims.IncompleteSignature, match="x-amz-content-sha256"):
        verifier().verify("PUT", b"/bucket/key", headers, None, 1e9)


def sign_s3(word: str) -> list[Header]:
    """The headers of a PUT whose body is told by that word."""
    url = f"http://{HOST}/bucket/key"
    return signatures.sign("PUT", url, [], word, KEYS, "s3", "us-west-2", 1e9)


# -- our own signing ----------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["s3", "sagemaker"])
@MANY
@given(path=PATHS, query=QUERIES, headers=HEADERS, body=st.binary(max_size=20))
def test_what_we_sign_is_believed(
    service: str, path: str, query: str, headers: dict[str, str], body: bytes
) -> None:
    """`sign` and `verify` agree about every request."""
    hashed = signatures.payload_hash(body)
    given_ = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    target = f"{path}?{query}" if query else path
    url = f"http://{HOST}{target}"
    signed = signatures.sign("POST", url, given_, hashed, KEYS, service, "eu-west-1", 1e9)
    found = verifier().verify("POST", target.encode(), signed, hashed, 1e9)
    assert (found.region, found.date) == ("eu-west-1", "20010909T014640Z")
    assert set(given_) <= set(signed)


def test_our_signature_is_botocore_s() -> None:
    """Given the same request at the same time, both write the same header."""
    theirs = s3("/bucket/a%20b?x=1&list-type=2")
    ours = signatures.sign(
        *("PUT", f"http://{HOST}{theirs.target.decode()}", []),
        *(signatures.payload_hash(b"data"), KEYS, "s3", "us-west-2", theirs.now),
    )
    assert dict(ours)[b"authorization"] == theirs.header(b"authorization")


def test_signing_again_replaces_the_old_signature() -> None:
    """A proxy signs what it passes on with its own key, and nothing of the old one is left."""
    theirs = s3()
    url = "http://127.0.0.1:9000/bucket/key"
    word = signatures.payload_hash(b"data")
    other = Keys("OTHER", "secret")
    again = signatures.sign("PUT", url, theirs.headers, word, other, "s3", "x", theirs.now)
    names = [name for name, _ in again]
    assert len(names) == len(set(names))
    assert dict(again)[b"host"] == b"127.0.0.1:9000"
    assert verifier(other).verify("PUT", b"/bucket/key", again, None, theirs.now).region == "x"


# -- the rest -----------------------------------------------------------------------------------


def test_signing_keys_are_not_remembered_without_end() -> None:
    """A client that signs for ever new regions cannot fill the memory."""
    by = verifier()
    for number in range(signatures.SIGNING_KEYS_MAX + 10):
        region = f"r{number}"
        url = f"http://{HOST}/"
        headers = signatures.sign("GET", url, [], EMPTY, KEYS, "sagemaker", region, 1e9)
        assert by.verify("GET", b"/", headers, EMPTY, 1e9).region == region
    assert len(by._signing_keys) <= signatures.SIGNING_KEYS_MAX


def test_forms_are_not_remembered_without_end() -> None:
    """Nor can one that calls for ever new targets."""
    by = verifier()
    for number in range(forms.FORMS_MAX + 10):
        path = f"/e{number}"
        headers = signatures.sign(
            "GET", f"http://{HOST}{path}", [], EMPTY, KEYS, "sagemaker", "us-west-2", 1e9
        )
        by.verify("GET", path.encode(), headers, EMPTY, 1e9)
    assert 0 < len(by._forms) <= forms.FORMS_MAX


def test_a_secret_is_not_printed() -> None:
    """Keys can be logged by accident without harm."""
    assert KEYS.secret_key not in repr(KEYS)
