"""Paging, filters and order of the List operations: the same members mean the same everywhere.

A page's token names the last row of the page: rows that come and go meanwhile neither repeat nor
hide others.
"""

from __future__ import annotations

from typing import Any

from modelplex.aws import tokens
from modelplex.aws.errors import ValidationException
from modelplex.control.realm import Realm
from modelplex.control.records import Document, Kind, Record

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


def page(kind: Kind, realm: Realm, request: Document) -> Document:
    """One page of a List operation. Raises ValidationException."""
    question = [kind, {name: request[name] for name in request if name not in _PAGING}]
    order, limit = _ORDERS[request.get("SortBy", "CreationTime")], request.get("MaxResults", 10)
    found = realm.records.find(
        kind,
        where=[(sql, request[name]) for name, sql in _FILTERS.items() if name in request],
        order_by=order,
        descending=request.get("SortOrder", "Descending") == "Descending",
        after=_after(request.get("NextToken"), question),
        limit=limit + 1,
    )
    rows = found[:limit]
    answer: Document = {f"{kind.member}s": [_summary(row) for row in rows]}
    if len(found) > limit:
        place = [getattr(rows[-1], order), rows[-1].arn]
        answer["NextToken"] = tokens.give(question, place)
    return answer


def _after(token: str | None, question: object) -> tuple[Any, str] | None:
    if token is None:
        return None
    match tokens.read(token, question):
        case [str() | int() | float() as value, str(arn)]:
            return value, arn
        case _:
            raise ValidationException(
                f"Invalid NextToken '{token[:64]}': it was not given for this request. "
                "Send the same members as in the request that answered with the token."
            )


def _summary(record: Record) -> Document:
    word = record.kind.member
    row = {
        f"{word}Name": record.name,
        f"{word}Arn": record.arn,
        "CreationTime": record.created_at,
    }
    if record.kind is Kind.ENDPOINT:
        row |= {"LastModifiedTime": record.modified_at, "EndpointStatus": record.status}
    return row
