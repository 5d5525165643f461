"""What an operation works with: one account's records in one region, and the world around them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from modelplex.aws import arns
from modelplex.aws.errors import ValidationException
from modelplex.control.records import Document, Kind, Record, Records, now
from modelplex.images.catalogue import Catalogue
from modelplex.settings import Settings

_WORDS = {
    Kind.MODEL: "model",
    Kind.CONFIG: "endpoint configuration",
    Kind.ENDPOINT: "endpoint",
}
TAGS_MAX = 50  # per resource, SageMaker's quota


@dataclass(frozen=True, slots=True)
class Realm:
    """One account in one region. `changed` wakes the reconciler; `is_healthy` says of an instance
    whether it answers now."""

    settings: Settings
    records: Records
    catalogue: Catalogue
    changed: Callable[[], None]
    is_healthy: Callable[[str], bool]

    def arn(self, kind: Kind, name: str) -> str:
        """The ARN that a record of this name has or would have."""
        return arns.sagemaker_arn(self.settings.account, self.settings.region, kind, name)

    def find(self, kind: Kind, name: str) -> Record:
        """The record of that name; ValidationException in the service's words if there is none."""
        record = self.records.get(kind, name)
        if record is None:
            raise ValidationException(f'Could not find {_WORDS[kind]} "{self.arn(kind, name)}".')
        return record

    def add(self, kind: Kind, name: str, request: Document, status: str = "") -> Record:
        """Store a new record of a request with its tags.

        To be called in a transaction. Raises ValidationException where the name is taken or the
        tags are not well formed.
        """
        arn = self.arn(kind, name)
        if self.records.by_arn(arn) is not None:
            raise ValidationException(f'Cannot create already existing {_WORDS[kind]} "{arn}".')
        tags = checked_tags(request.get("Tags", []))
        document = {key: value for key, value in request.items() if key != "Tags"}
        at = now()
        record = Record(kind, name, arn, document, at, at, status)
        self.records.put(record)
        self.records.set_tags(arn, tags)
        return record


def checked_tags(tags: Iterable[Document]) -> list[tuple[str, str]]:
    """Tags as pairs. ValidationException for a repeated key or one that AWS keeps to itself."""
    pairs = [(tag["Key"], tag["Value"]) for tag in tags]
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise ValidationException(f"Duplicate tag key '{key}'. Give each tag key once.")
        if key.lower().startswith("aws:"):
            raise ValidationException(
                f"aws: prefixed tag key names are not allowed for external use: '{key}'."
            )
    return pairs


def refuse(place: str, document: Document, members: Iterable[str]) -> None:
    """ValidationException naming the first of `members` that the request asks for.

    A member that is absent, false or empty asks for nothing.
    """
    for member in members:
        if document.get(member):
            raise unsupported(place + member)


def unsupported(what: str) -> ValidationException:
    """The honest answer to a wish that would otherwise be silently ignored."""
    return ValidationException(f"{what} is not supported by modelplex yet.")
