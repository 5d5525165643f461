"""Paging tokens: opaque texts that say where a question goes on, good for that question alone.

A token holds the place and a digest of the question, nothing else: it is good for as long as
anyone keeps it, and refused by another question.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any


def give(question: object, place: object) -> str:
    """The token of a place in the answer to a question, both of them as JSON can hold them."""
    return base64.urlsafe_b64encode(json.dumps([_digest(question), place]).encode()).decode()


def read(token: str, question: object) -> Any | None:
    """The place in a token, or None when it is not one of this question's."""
    try:
        found = json.loads(base64.b64decode(token.encode(), altchars=b"-_", validate=True))
    except ValueError:  # not base64, not ASCII, not UTF-8 or not JSON
        return None
    match found:
        case [asked, place] if asked == _digest(question):
            return place
        case _:
            return None


def _digest(question: object) -> str:
    return hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()[:16]
