"""Signatures as they come with a request, taken apart: what is claimed, not yet what is true.

And every way in which a claim can be wrong, one exception each.
"""

from __future__ import annotations

import calendar
import functools
import re
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from modelplex.aws.canonical import ALGORITHM, Fields

PRESIGNED_SECONDS_MAX = 604_800  # a week, AWS's limit for X-Amz-Expires

_TIMESTAMP = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_UNSUPPORTED = (
    "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."
)


class SignatureError(Exception):
    """Why a request is not believed. `errors.for_signature` says it in AWS's words."""


class MissingSignature(SignatureError):
    """The request carries no signature at all."""


class IncompleteSignature(SignatureError):
    """The signature lacks a part, or a part cannot be read; the text says which."""


class IncompleteQuery(IncompleteSignature):
    """The same in a presigned URL."""


class UnsupportedSignature(IncompleteSignature):
    """Signed, but not with AWS4-HMAC-SHA256."""


class UnknownAccessKey(SignatureError):
    """Signed with an access key that is not ours."""

    def __init__(self, access_key: str) -> None:
        super().__init__(f"unknown access key {access_key!r}")
        self.access_key = access_key


class SessionTokenGiven(SignatureError):
    """The request carries a session token. We issue none, so it is somebody else's."""


class ClockSkewed(SignatureError):
    """Signed too long ago, or in the future; the text is AWS's own."""


class Expired(ClockSkewed):
    """A presigned URL whose time is over."""


class SignatureMismatch(SignatureError):
    """The signature is not that of this request under our secret key."""


class HeadersNotSigned(SignatureMismatch):
    """An x-amz- header, or the host, is not among the signed headers."""


class PayloadMismatch(SignatureMismatch):
    """The body is not the one whose hash was signed."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Who claims to call what: the Credential of a signature. Claimed, not checked."""

    access_key: str
    date: str  # "20260131"
    region: str
    service: str

    def path(self) -> str:
        """The scope as the signed text has it."""
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


class Claim(NamedTuple):  # made once a request: a tuple costs a fifth of a frozen dataclass
    """A signature as it came with the request, taken apart."""

    scope: Scope
    signed_headers: tuple[bytes, ...]
    signature: bytes
    timestamp: str  # "20260131T235959Z"
    expires_s: int | None  # of a presigned URL


def read(named: Fields, query: bytes) -> Claim:
    """The signature of a request; raises what is wrong with it as it stands."""
    authorization = named.get(b"authorization")
    if b"X-Amz-Signature=" in query or b"X-Amz-Credential=" in query:
        if authorization:
            raise IncompleteSignature(
                "Only one auth mechanism allowed; either the X-Amz-Algorithm query parameter or "
                "the Authorization header should be specified."
            )
        return _claim_of_query(query)
    if authorization:
        return _claim_of_header(authorization, named)
    if b"AWSAccessKeyId=" in query and b"Signature=" in query:
        raise UnsupportedSignature(_UNSUPPORTED)
    raise MissingSignature("no Authorization header and no X-Amz-Signature in the query")


def _claim_of_header(authorization: bytes, named: Fields) -> Claim:
    algorithm, _, rest = authorization.partition(b" ")
    if algorithm != ALGORITHM:
        raise UnsupportedSignature(_UNSUPPORTED)
    split = [part.strip().partition(b"=") for part in rest.split(b",")]
    parts = {name: value for name, _, value in split if value}
    wanted = (b"Credential", b"SignedHeaders", b"Signature")
    missing = [name.decode() for name in wanted if name not in parts]
    if missing:
        lacks = " ".join(f"Authorization header requires '{name}' parameter." for name in missing)
        raise IncompleteSignature(lacks)
    return Claim(
        scope=_scope(parts[b"Credential"]),
        signed_headers=tuple(parts[b"SignedHeaders"].split(b";")),
        signature=parts[b"Signature"],
        timestamp=_timestamp(named),
        expires_s=None,
    )


def _claim_of_query(query: bytes) -> Claim:
    pairs = [pair.partition(b"=") for pair in query.split(b"&") if pair.startswith(b"X-Amz-")]
    parts = {name: unquote_to_bytes(value) for name, _, value in pairs}
    try:
        claim = Claim(
            scope=_scope(parts[b"X-Amz-Credential"]),
            signed_headers=tuple(parts[b"X-Amz-SignedHeaders"].split(b";")),
            signature=parts[b"X-Amz-Signature"],
            timestamp=parts[b"X-Amz-Date"].decode("latin-1"),
            expires_s=int(parts[b"X-Amz-Expires"]),
        )
        algorithm = parts[b"X-Amz-Algorithm"]
    except KeyError as missing:
        lacking = missing.args[0].decode()
        raise IncompleteQuery(f"A presigned URL requires the {lacking} parameter.") from None
    except ValueError:
        raise IncompleteQuery("X-Amz-Expires should be a number") from None
    if algorithm != ALGORITHM:
        raise UnsupportedSignature(_UNSUPPORTED)
    if not 0 < (claim.expires_s or 0) <= PRESIGNED_SECONDS_MAX:
        raise IncompleteQuery(
            f"X-Amz-Expires must be from 1 to {PRESIGNED_SECONDS_MAX} (a week), in seconds"
        )
    return claim


def scope_of_header(authorization: bytes) -> Scope | None:
    """What the credential alone claims, as cheaply as can be; None if there is none."""
    if not authorization.startswith(ALGORITHM):
        return None
    credential = authorization.partition(b"Credential=")[2]
    return _scope_or_none(credential.partition(b",")[0].strip())


def scope_of_query(query: bytes) -> Scope | None:
    """The same of a presigned URL."""
    credential = query.partition(b"X-Amz-Credential=")[2]
    return _scope_or_none(unquote_to_bytes(credential.partition(b"&")[0]))


def _scope_or_none(credential: bytes) -> Scope | None:
    try:
        return _scope(credential)
    except IncompleteSignature:
        return None


@functools.lru_cache(64)  # the same few keys, regions and services all day
def _scope(credential: bytes) -> Scope:
    parts = credential.decode("latin-1").split("/")
    if len(parts) != 5 or parts[4] != "aws4_request":
        raise IncompleteSignature(
            "Credential must have exactly 5 slash-delimited elements, e.g. "
            f"keyid/date/region/service/aws4_request, got '{'/'.join(parts)}'"
        )
    return Scope(*parts[:4])


def _timestamp(named: Fields) -> str:
    """When a request was signed: x-amz-date, or the Date header in the same form."""
    value = named.get(b"x-amz-date") or named.get(b"date")
    if value is None:
        raise IncompleteSignature(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
        )
    text = value.decode("latin-1").strip()
    if _TIMESTAMP.fullmatch(text):
        return text
    try:
        return stamp(parsedate_to_datetime(text).timestamp())
    except (ValueError, OverflowError):
        raise _bad_date(text) from None


def _bad_date(text: str) -> IncompleteSignature:
    return IncompleteSignature(
        f"Date must be in ISO-8601 'basic format'. Got '{text}'. "
        "See http://en.wikipedia.org/wiki/ISO_8601"
    )


@functools.lru_cache(256)  # requests signed in the same second share it
def seconds(timestamp: str) -> int:
    """Unix time of a timestamp such as "20260131T235959Z"; raises IncompleteSignature."""
    if not _TIMESTAMP.fullmatch(timestamp):
        raise _bad_date(timestamp)
    try:
        return calendar.timegm(time.strptime(timestamp, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        raise _bad_date(timestamp) from None


def stamp(seconds: float) -> str:
    """The timestamp of a Unix time."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))
