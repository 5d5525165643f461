"""AddTags, ListTags, DeleteTags: for models, endpoint configurations and endpoints."""

from __future__ import annotations

from modelplex.aws.errors import ResourceLimitExceeded, ValidationException
from modelplex.control.realm import TAGS_MAX, Realm, checked_tags
from modelplex.control.records import Document


def add(realm: Realm, request: Document) -> Document:
    """Set tags on a resource, and answer with all that it has."""
    pairs = checked_tags(request["Tags"])
    with realm.records.transaction():
        arn = _arn(realm, request)
        realm.records.set_tags(arn, pairs)
        tags = realm.records.tags(arn)
        if len(tags) > TAGS_MAX:
            raise ResourceLimitExceeded(
                f"{arn} would have {len(tags)} tags; a resource may have {TAGS_MAX}."
            )
    return {"Tags": _rows(tags)}


def list_(realm: Realm, request: Document) -> Document:
    """A resource's tags. There are never more than fit one page, so no token is ever given."""
    if "NextToken" in request:
        raise ValidationException(f"Invalid NextToken '{request['NextToken'][:64]}'.")
    return {"Tags": _rows(realm.records.tags(_arn(realm, request)))}


def delete(realm: Realm, request: Document) -> Document:
    """Take tags from a resource; keys that it does not have are passed over."""
    with realm.records.transaction():
        realm.records.delete_tags(_arn(realm, request), request["TagKeys"])
    return {}


def _arn(realm: Realm, request: Document) -> str:
    record = realm.records.by_arn(request["ResourceArn"])
    if record is None:
        raise ValidationException(f'Could not find resource "{request["ResourceArn"]}".')
    return record.arn


def _rows(tags: dict[str, str]) -> list[Document]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
