"""The canonical form of a request: the text that AWS Signature Version 4 signs, and its signing.

The rules are those of AWS's "Create a signed AWS API request"; where that leaves room, botocore is
followed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator, Sequence
from urllib.parse import quote, unquote_to_bytes

Header = tuple[bytes, bytes]
Fields = dict[bytes, bytes]

ALGORITHM = b"AWS4-HMAC-SHA256"

_PLAIN = re.compile(rb"[A-Za-z0-9/_.~-]*")  # what encoding leaves as it is


def resources(path: bytes, query: bytes, service: str) -> Iterator[bytes]:
    """The lines of path and query that a signer may have meant, the likeliest first.

    First as sent, as botocore takes them; then, where it differs, decoded and encoded again as
    AWS's text has it, for clients that sign a stricter encoding than they send ("+" for a space).
    """
    exact = b"%s\n%s" % (_path(path, service), query and _query(query.split(b"&")))
    yield exact
    pairs = [_encoded(pair) for pair in query.split(b"&") if pair]
    encoded = quote(unquote_to_bytes(path), safe="/~").encode()
    again = b"%s\n%s" % (_path(encoded, service), _query(pairs))
    if again != exact:
        yield again


def _path(path: bytes, service: str) -> bytes:
    """S3 signs the path as sent; all others without dot segments and encoded once more."""
    if service == "s3":
        return path or b"/"
    if b"//" in path or b"/." in path:
        path = _without_dots(path)
    if _PLAIN.fullmatch(path):
        return path or b"/"
    return quote(path, safe="/~").encode()


def _without_dots(path: bytes) -> bytes:
    """RFC 3986, section 5.2.4, and without empty segments."""
    kept: list[bytes] = []
    for segment in path.split(b"/"):
        if segment == b"..":
            del kept[-1:]
        elif segment not in (b"", b"."):
            kept.append(segment)
    end = b"/" if kept and path.endswith(b"/") else b""
    return b"/" + b"/".join(kept) + end


def _query(pairs: Sequence[bytes]) -> bytes:
    """Sorted by name, then by value; `name` alone becomes `name=`."""
    split = sorted(pair.partition(b"=")[::2] for pair in pairs)
    return b"&".join([b"%s=%s" % pair for pair in split])


def _encoded(pair: bytes) -> bytes:
    name, _, value = pair.replace(b"+", b" ").partition(b"=")
    return b"=".join([quote(unquote_to_bytes(part), safe="~").encode() for part in (name, value)])


def fields(headers: Sequence[Header]) -> Fields:
    """Headers by name, those that are repeated joined with commas."""
    named = dict(headers)
    if len(named) < len(headers):
        for name in named:
            values = [b" ".join(value.split()) for key, value in headers if key == name]
            named[name] = b",".join(values)
    return named


def lines(named: Fields, signed: Sequence[bytes]) -> bytes:
    """The signed headers, a line each; one that the request lacks counts as empty."""
    split = [(name, named.get(name, b"").split()) for name in signed]
    return b"".join([b"%s:%s\n" % (name, b" ".join(words)) for name, words in split])


def derive(secret_key: str, date: str, region: str, service: str) -> bytes:
    """The signing key of one day ("20260131"), region and service."""
    key = b"AWS4" + secret_key.encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def signature(key: bytes, timestamp: str, scope: str, request: bytes) -> bytes:
    """The hex signature of a canonical request; `scope` is DATE/REGION/SERVICE/aws4_request."""
    hashed = hashlib.sha256(request).hexdigest()
    text = f"{ALGORITHM.decode()}\n{timestamp}\n{scope}\n{hashed}"
    return hmac.digest(key, text.encode(), "sha256").hex().encode()
