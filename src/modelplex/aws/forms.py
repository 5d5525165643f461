"""What the signed requests of one client have in common, looked at once.

A client that calls the same thing again and again signs requests that differ in their time, their
body, the values of their headers and hence their signature, and in nothing else. Which key signs
them, for what, and which headers are signed, has then been checked before.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import NamedTuple

from modelplex.aws import canonical, claims
from modelplex.aws.canonical import Fields
from modelplex.aws.claims import Claim, Scope

FORMS_MAX = 1024  # remembered; more: all are forgotten

_SIGNATURE = b"Signature="

_Name = tuple[bytes, bytes, str, tuple[bytes, ...]]


class Form(NamedTuple):
    """One form of requests, of one client and day to one target."""

    scope: Scope
    path: str  # of the scope
    signed: tuple[bytes, ...]  # names of headers
    canonical: bytes  # request, with a place for each signed value and for the body's hash
    key: bytes


class Forms:
    """Those of requests that were verified before."""

    def __init__(self, clock_skew_s: float) -> None:
        self._clock_skew_s = clock_skew_s
        self._known: dict[_Name, Form] = {}

    def __len__(self) -> int:
        return len(self._known)

    def match(
        self, method: str, target: bytes, named: Fields, body_hash: str, now: float
    ) -> Form | None:
        """The form of a request whose signature is right and of this time. None says nothing: the
        request is to be looked at as a whole. Raises IncompleteSignature for a date that is none.
        """
        authorization = named.get(b"authorization", b"")
        at = authorization.rfind(_SIGNATURE) + len(_SIGNATURE)
        form = self._known.get((authorization[:at], target, method, tuple(named)))
        if form is None:
            return None
        timestamp, hashed = named[b"x-amz-date"].decode("latin-1"), body_hash.encode()
        if timestamp[:8] != form.scope.date:
            return None
        if abs(claims.seconds(timestamp) - now) > self._clock_skew_s:
            return None
        if named.get(b"x-amz-content-sha256", hashed) != hashed:
            return None
        # Values with runs of blanks are signed with single ones: such a signature does not match.
        request = form.canonical % (*[named[name] for name in form.signed], hashed)
        computed = canonical.signature(form.key, timestamp, form.path, request)
        return form if hmac.compare_digest(computed, authorization[at:]) else None

    def remember(  # noqa: PLR0917 - one call, one line of each part of a request
        self,
        method: str,
        target: bytes,
        named: Fields,
        claim: Claim,
        resource: bytes,
        key: bytes,
    ) -> None:
        """That request was right. `resource` is what its signer meant by the target."""
        authorization = named[b"authorization"]
        at = authorization.rfind(_SIGNATURE) + len(_SIGNATURE)
        if authorization[at:] != claim.signature or b"x-amz-date" not in named:
            return  # its parts are in another order, or it is dated in another way
        if not named.keys() >= set(claim.signed_headers):
            return
        if len(self._known) >= FORMS_MAX:
            self._known.clear()
        self._known[authorization[:at], target, method, tuple(named)] = Form(
            scope=claim.scope,
            path=claim.scope.path(),
            signed=claim.signed_headers,
            canonical=_template(method, resource, claim.signed_headers),
            key=key,
        )


def _template(method: str, resource: bytes, signed: Sequence[bytes]) -> bytes:
    """A canonical request, to be filled in by "%" with the values of the signed headers, and the
    body's hash.
    """
    places = b"".join([b"%b:\0\n" % name for name in signed])
    request = b"%b\n%b\n%b\n%b\n\0" % (method.encode(), resource, places, b";".join(signed))
    return request.replace(b"%", b"%%").replace(b"\0", b"%b")
