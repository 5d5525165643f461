"""ECR's repositories among the records."""

from __future__ import annotations

import json
from collections.abc import Iterable

from modelplex.control.records import Kind, Record, Records
from modelplex.ecr.repositories import Repository
from modelplex.http.messages import Response, explain


class RecordedRepositories:
    """`ecr.repositories.Repositories` over the records of one data folder."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def get(self, name: str) -> Repository | None:
        record = self._records.get(Kind.REPOSITORY, name)
        return None if record is None else _read(record)

    def show(self, name: str) -> Response:
        """One as the registry's door asks for it."""
        found = self.get(name)
        if found is None:
            return explain(404, f"There is no repository named {name!r}.")
        body = json.dumps({"name": found.name, "immutable": found.immutable}).encode()
        return Response(200, [(b"content-type", b"application/json")], body)

    def all(self) -> list[Repository]:
        return [_read(record) for record in self._records.all(Kind.REPOSITORY)]

    def add(self, repository: Repository, tags: Iterable[tuple[str, str]]) -> None:
        at = repository.created_at
        document = {"immutable": repository.immutable}
        record = Record(Kind.REPOSITORY, repository.name, repository.arn, document, at, at)
        with self._records.transaction():
            self._records.put(record)
            self._records.set_tags(repository.arn, tags)

    def delete(self, arn: str) -> None:
        self._records.delete(arn)

    def tags(self, arn: str) -> dict[str, str]:
        return self._records.tags(arn)

    def set_tags(self, arn: str, tags: Iterable[tuple[str, str]]) -> None:
        with self._records.transaction():
            self._records.set_tags(arn, tags)

    def delete_tags(self, arn: str, keys: Iterable[str]) -> None:
        with self._records.transaction():
            self._records.delete_tags(arn, keys)


def _read(record: Record) -> Repository:
    return Repository(record.name, record.arn, record.created_at, record.document["immutable"])
