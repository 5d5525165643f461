"""Paging, filters and order of the List operations: the same members mean the same everywhere.

A page's token names the last row of the page and a digest of the question, nothing else: it stays
good for as long as anyone keeps it, rows that come and go meanwhile neither repeat nor hide others,
and a token taken to another question is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from modelplex.aws.errors import ValidationException
from modelplex.control.records import Document, Kind, Query, Record, Records

# Request member -> condition over the columns. "After" a creation includes the moment itself, as
# the service documents it; after a modification does not.
_FILTERS = {
    "NameContains": "instr(lower(name), lower(?)) > 0",
    "CreationTimeBefore": "created_at < ?",
    "CreationTimeAfter": "created_at >= ?",
    "LastModifiedTimeBefore": "modified_at < ?",
    "LastModifiedTimeAfter": "modified_at > ?",
    "StatusEquals": "status = ?",
}
_ORDERS = {"Name": "name", "CreationTime": "created_at", "Status": "status"}
_PAGING = {"NextToken", "MaxResults"}


def page(
    records: Records, kind: Kind, request: Document, summary: Callable[[Record], Document], key: str
) -> Document:
    """One page of a List operation, its rows under `key`. Raises ValidationException."""
    digest = _digest(kind, request)
    query = replace(_query(kind, request), after=_read_token(request.get("NextToken"), digest))
    found = records.find(replace(query, limit=query.limit + 1))
    rows = found[: query.limit]
    answer: Document = {key: [summary(row) for row in rows]}
    if len(found) > len(rows):
        last = rows[-1]
        answer["NextToken"] = token(digest, [getattr(last, query.order_by), last.arn])
    return answer


def _query(kind: Kind, request: Document) -> Query:
    where = [(sql, request[name]) for name, sql in _FILTERS.items() if name in request]
    return Query(
        kind=kind,
        where=tuple(where),
        order_by=_ORDERS[request.get("SortBy", "CreationTime")],
        descending=request.get("SortOrder", "Descending") == "Descending",
        limit=request.get("MaxResults", 10),
    )


def _digest(kind: Kind, request: Document) -> str:
    question = {name: value for name, value in request.items() if name not in _PAGING}
    text = json.dumps([kind, question], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read_token(text: str | None, digest: str) -> tuple[Any, str] | None:
    if text is None:
        return None
    match position(text, digest):
        case [str() | int() | float() as value, str(arn)]:
            return value, arn
        case _:
            raise ValidationException(
                f"Invalid NextToken '{text[:64]}': it was not given for this request. "
                "Send the same members as in the request that answered with the token."
            )


def token(digest: str, place: object) -> str:
    """An opaque text that says where a question goes on."""
    return base64.urlsafe_b64encode(json.dumps([digest, place]).encode()).decode()


def position(text: str, digest: str) -> object | None:
    """The place in a token, or None when it is not one of this question's."""
    try:
        found = json.loads(base64.b64decode(text.encode(), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):  # not base64, not ASCII, not UTF-8 or not JSON
        return None
    match found:
        case [str(asked), place] if asked == digest:
            return place  # type: ignore[no-any-return]
        case _:
            return None
