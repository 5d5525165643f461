"""What an operation works with: one account's records in one region, and the world around them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from modelplex.aws import arns
from modelplex.aws.errors import ValidationException
from modelplex.control.records import Document, Kind, Record, Records
from modelplex.images.store import ImageStore
from modelplex.settings import Settings

_WORDS = {
    Kind.MODEL: "model",
    Kind.CONFIG: "endpoint configuration",
    Kind.ENDPOINT: "endpoint",
}
TAGS_MAX = 50  # per resource, SageMaker's quota


@dataclass(frozen=True, slots=True)
class Realm:
    """One account in one region. `clock` tells Unix seconds; `changed` wakes the reconciler;
    `healthy` counts an endpoint's instances that answer now, per variant's name."""

    settings: Settings
    records: Records
    images: ImageStore
    clock: Callable[[], float]
    changed: Callable[[], None]
    healthy: Callable[[str], dict[str, int]]

    def arn(self, kind: Kind, name: str) -> str:
        """The ARN that a record of this name has or would have."""
        return arns.sagemaker_arn(self.settings.account, self.settings.region, kind, name)

    def find(self, kind: Kind, name: str) -> Record:
        """The record of that name; ValidationException in the service's words if there is none."""
        record = self.records.get(kind, name)
        if record is None:
            raise ValidationException(f'Could not find {_WORDS[kind]} "{self.arn(kind, name)}".')
        return record

    def add(self, kind: Kind, name: str, request: Document, status: str = "") -> str:
        """Store a new record of a request with its tags, and answer with its ARN.

        To be called in a transaction. Raises ValidationException where the name is taken or the
        tags are not well formed.
        """
        if self.records.get(kind, name) is not None:
            arn = self.arn(kind, name)
            raise ValidationException(f'Cannot create already existing {_WORDS[kind]} "{arn}".')
        tags = checked_tags(request.get("Tags", []))
        document = {key: value for key, value in request.items() if key != "Tags"}
        now = round(self.clock(), 3)  # milliseconds, as the service's times
        arn = self.arn(kind, name)
        self.records.put(Record(kind, name, arn, document, now, now, status))
        self.records.set_tags(arn, tags)
        return arn


def checked_tags(tags: Iterable[Document]) -> list[tuple[str, str]]:
    """Tags as pairs. ValidationException for a repeated key or one that AWS keeps to itself."""
    pairs = [(tag["Key"], tag["Value"]) for tag in tags]
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ValidationException(f"Duplicate tag key '{repeated}'. Give each tag key once.")
    for key in keys:
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
