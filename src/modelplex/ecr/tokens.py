"""What `docker login` sends as a password: a time and the platform's mark on it, nothing kept.

ECR's tokens are good for 12 hours, and their user is always AWS.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

USER = "AWS"
LIFETIME_S = 12 * 3600
_TIME_BYTES = 8


def issue(secret_key: str, now: float, lifetime_s: float = LIFETIME_S) -> tuple[str, float]:
    """A password and the Unix second until which it is good."""
    expires_at = int(now + lifetime_s)
    time = expires_at.to_bytes(_TIME_BYTES)
    return base64.urlsafe_b64encode(time + _mark(secret_key, time)).decode(), float(expires_at)


def expiry(secret_key: str, password: str) -> float | None:
    """Until when a password is, or was, good; None if it is none of this platform's."""
    try:
        raw = base64.urlsafe_b64decode(password.encode())
    except ValueError:
        return None
    time, mark = raw[:_TIME_BYTES], raw[_TIME_BYTES:]
    known = hmac.compare_digest(mark, _mark(secret_key, time))
    return float(int.from_bytes(time)) if known else None


def check(secret_key: str, password: str, now: float) -> bool:
    """Whether a password is this platform's and still good."""
    expires_at = expiry(secret_key, password)
    return expires_at is not None and now < expires_at


def _mark(secret_key: str, time: bytes) -> bytes:
    return hmac.digest(secret_key.encode(), b"modelplex registry\n" + time, hashlib.sha256)
