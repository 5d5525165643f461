"""AWS Signature Version 4: who sent this request, and is it the one they signed?

Both forms are read: the Authorization header, and the query of a presigned URL. Nothing here looks
at a clock or a socket.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit

from modelplex.aws import canonical, claims
from modelplex.aws.canonical import ALGORITHM, Fields, Header
from modelplex.aws.claims import (
    Claim,
    ClockSkewed,
    Expired,
    HeadersNotSigned,
    IncompleteSignature,
    PayloadMismatch,
    Scope,
    SessionTokenGiven,
    SignatureMismatch,
    UnknownAccessKey,
)
from modelplex.aws.forms import Forms

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
SIGNING_KEYS_MAX = 256  # derived keys remembered; more: all are forgotten and derived again

# Bound by the signature through their values even where they are not among the signed headers.
_BOUND = frozenset([b"x-amz-date", b"x-amz-content-sha256"])


@dataclass(frozen=True, slots=True)
class Keys:
    """An access key and its secret."""

    access_key: str
    secret_key: str = field(repr=False)


class Signed(NamedTuple):  # made once a request: a tuple costs a fifth of a frozen dataclass
    """What a verified signature vouches for."""

    access_key: str
    service: str
    region: str
    date: str  # when it was signed, "20260131T235959Z"
    presigned: bool
    payload_hash: str  # hex SHA-256, "UNSIGNED-PAYLOAD" or "STREAMING-…"
    signed_headers: tuple[bytes, ...]


def payload_hash(body: bytes | bytearray | memoryview) -> str:
    """The hex SHA-256 of a body, as `Verifier.verify` and `sign` want it."""
    return hashlib.sha256(body).hexdigest()


def scope(headers: Sequence[Header], query: bytes) -> Scope | None:
    """Who claims to call what, without any check; None where no signature says so."""
    for name, value in headers:
        if name == b"authorization":
            return claims.scope_of_header(value)
    return claims.scope_of_query(query)


class Verifier:
    """Checks signatures against one pair of keys. Signing keys are derived once a day and scope."""

    def __init__(self, keys: Keys, clock_skew_s: float) -> None:
        self._keys = keys
        self._clock_skew_s = clock_skew_s
        self._signing_keys: dict[tuple[str, str, str], bytes] = {}
        self._forms = Forms(clock_skew_s)

    def verify(
        self,
        method: str,
        target: bytes,
        headers: Sequence[Header],
        body_hash: str | None,
        now: float,
    ) -> Signed:
        """What the signature of this request vouches for; raises SignatureError.

        `target` is the raw request target; `headers` have names in lower case; `now` is Unix time.
        `body_hash` is the body's hex SHA-256. None instead takes x-amz-content-sha256 at its word
        (a presigned request's body is then unsigned): that is for S3, whose store checks it.
        """
        named = canonical.fields(headers)
        if body_hash is not None:
            known = self._forms.match(method, target, named, body_hash, now)
            if known is not None:
                scope, date = known.scope, named[b"x-amz-date"].decode("latin-1")
                return Signed(
                    scope.access_key,
                    scope.service,
                    scope.region,
                    date,
                    False,
                    body_hash,
                    known.signed,
                )
        path, _, query = target.partition(b"?")
        claim = claims.read(named, query)
        self._check_claim(claim, named, query, now)
        hashed = _hashed(claim, named, body_hash)
        signed = claim.signed_headers
        tail = b"\n".join(
            [canonical.lines(named, signed), b";".join(signed), hashed.encode("latin-1")]
        )
        if claim.expires_s is not None:
            query = _without_signature(query)
        key = self._signing_key(claim.scope)
        for resource in canonical.resources(path, query, claim.scope.service):
            request = b"%s\n%s\n%s" % (method.encode(), resource, tail)
            computed = canonical.signature(key, claim.timestamp, claim.scope.path(), request)
            if hmac.compare_digest(computed, claim.signature):
                break
        else:
            raise SignatureMismatch("the signature is not that of this request")
        if claim.expires_s is None and b"authorization" in named:
            key = self._signing_key(claim.scope)
            self._forms.remember(method, target, named, claim, resource, key)
        return Signed(
            access_key=claim.scope.access_key,
            service=claim.scope.service,
            region=claim.scope.region,
            date=claim.timestamp,
            presigned=claim.expires_s is not None,
            payload_hash=hashed,
            signed_headers=signed,
        )

    def _check_claim(self, claim: Claim, named: Fields, query: bytes, now: float) -> None:
        """All that can be refused before the signature is computed."""
        scope = claim.scope
        if scope.access_key != self._keys.access_key:
            raise UnknownAccessKey(scope.access_key)
        if b"x-amz-security-token" in named or b"X-Amz-Security-Token=" in query:
            raise SessionTokenGiven("a session token was sent, and none is issued here")
        if scope.date != claim.timestamp[:8]:
            raise IncompleteSignature(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date "
                f"from HTTP: '{scope.date}' != '{claim.timestamp[:8]}', from '{claim.timestamp}'."
            )
        _check_clock(claim, now, self._clock_skew_s)
        _check_signed_headers(claim, named)

    def _signing_key(self, scope: Scope) -> bytes:
        name = (scope.date, scope.region, scope.service)
        key = self._signing_keys.get(name)
        if key is None:
            if len(self._signing_keys) >= SIGNING_KEYS_MAX:
                self._signing_keys.clear()
            key = self._signing_keys[name] = canonical.derive(self._keys.secret_key, *name)
        return key


def sign(  # noqa: PLR0917 - one call, one line of each part of a request
    method: str,
    url: str,
    headers: Sequence[Header],
    payload_hash: str,
    keys: Keys,
    service: str,
    region: str,
    now: float,
) -> list[Header]:
    """The headers to send: those given, with host, date and Authorization added or replaced.

    `url` is absolute, its path and query percent-encoded as they will be sent; `payload_hash` is
    `payload_hash(body)` or one of S3's words such as UNSIGNED-PAYLOAD. Signed are host, content
    type and MD5, and all x-amz headers; others may change on the way. Header names in lower case.
    """
    place = urlsplit(url)
    timestamp = claims.stamp(now)
    claimed = Scope(keys.access_key, timestamp[:8], region, service)
    added = {b"host": place.netloc.encode(), b"x-amz-date": timestamp.encode()}
    if service == "s3":
        added[b"x-amz-content-sha256"] = payload_hash.encode()
    kept = [header for header in headers if header[0] not in {b"authorization", *added}]
    sent = [*added.items(), *kept]
    signed = tuple(sorted({name for name, _ in sent if _is_signed(name)}))
    resource = next(canonical.resources(place.path.encode(), place.query.encode(), service))
    lines = [method.encode(), resource, canonical.lines(canonical.fields(sent), signed)]
    request = b"\n".join([*lines, b";".join(signed), payload_hash.encode()])
    key = canonical.derive(keys.secret_key, claimed.date, region, service)
    computed = canonical.signature(key, timestamp, claimed.path(), request)
    credential = f"{keys.access_key}/{claimed.path()}".encode()
    parts = (ALGORITHM, credential, b";".join(signed), computed)
    return [*sent, (b"authorization", b"%s Credential=%s, SignedHeaders=%s, Signature=%s" % parts)]


def _is_signed(name: bytes) -> bool:
    return name in (b"host", b"content-type", b"content-md5") or name.startswith(b"x-amz")


# -- what can be refused without the key --------------------------------------------------------


def _check_clock(claim: Claim, now: float, skew_s: float) -> None:
    signed_at = claims.seconds(claim.timestamp)
    lasts_s = skew_s if claim.expires_s is None else claim.expires_s
    if signed_at + lasts_s < now:
        oldest = claims.stamp(now - lasts_s)
        raise (ClockSkewed if claim.expires_s is None else Expired)(
            f"Signature expired: {claim.timestamp} is now earlier than {oldest} "
            f"({claims.stamp(now)} - {lasts_s / 60:g} min.)"
        )
    if signed_at - skew_s > now:
        raise ClockSkewed(
            f"Signature not yet current: {claim.timestamp} is still later than "
            f"{claims.stamp(now + skew_s)} ({claims.stamp(now)} + {skew_s / 60:g} min.)"
        )


def _check_signed_headers(claim: Claim, named: Fields) -> None:
    """As AWS: the host and every x-amz- header must be signed."""
    signed = claim.signed_headers
    loose = [
        name.decode("latin-1")
        for name in named
        if name.startswith(b"x-amz-") and name not in signed and name not in _BOUND
    ]
    if b"host" not in signed:
        loose.append("host")
    if loose:
        raise HeadersNotSigned(
            f"There were headers present in the request which were not signed: {', '.join(loose)}"
        )


def _hashed(claim: Claim, named: Fields, body_hash: str | None) -> str:
    """The word for the body in the canonical request."""
    stated = named.get(b"x-amz-content-sha256", b"").decode("latin-1").strip()
    if body_hash is not None:
        if stated not in ("", body_hash):
            raise PayloadMismatch(
                "The provided 'x-amz-content-sha256' header does not match what was computed."
            )
        return body_hash
    if claim.expires_s is not None and b"x-amz-content-sha256" not in claim.signed_headers:
        return UNSIGNED_PAYLOAD
    if not stated:
        raise IncompleteSignature("Missing required header for this request: x-amz-content-sha256")
    return stated


def _without_signature(query: bytes) -> bytes:
    pairs = query.split(b"&")
    return b"&".join([pair for pair in pairs if not pair.startswith(b"X-Amz-Signature=")])
