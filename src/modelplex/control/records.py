"""The records: what was promised to users, in SQLite.

A record is the validated request itself (`document`) with its name, ARN, times and, for endpoints,
status and reason. Nothing observed is stored here: processes and health are asked for, not kept.
Every change is one transaction in a write-ahead log that is synced before the answer is given, so
a kill -9 at any moment loses nothing that was answered. `Records(":memory:")` serves tests.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

Document = dict[str, Any]

VERSION = 2  # of the tables below; a file of a later version is refused, not guessed at

_TABLES = """
CREATE TABLE records (
    arn TEXT PRIMARY KEY COLLATE NOCASE,
    kind TEXT NOT NULL,
    name TEXT NOT NULL COLLATE NOCASE,
    document TEXT NOT NULL,
    created_at REAL NOT NULL,
    modified_at REAL NOT NULL,
    status TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '',
    UNIQUE (kind, name)
) WITHOUT ROWID;
CREATE INDEX records_by_creation ON records (kind, created_at, arn);
CREATE TABLE tags (
    arn TEXT NOT NULL COLLATE NOCASE REFERENCES records (arn) ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    UNIQUE (arn, key)
);
"""
_SINCE_2 = """
CREATE TABLE rules (
    arn TEXT PRIMARY KEY COLLATE NOCASE REFERENCES records (arn) ON DELETE CASCADE,
    document TEXT NOT NULL
) WITHOUT ROWID;
"""
_STEPS = (_TABLES, _SINCE_2)  # what each version adds to the one before
_COLUMNS = "kind, name, arn, document, created_at, modified_at, status, reason"


class Kind(StrEnum):
    """What a record describes; the value is the word in its ARN."""

    MODEL = "model"
    CONFIG = "endpoint-config"
    ENDPOINT = "endpoint"
    REPOSITORY = "repository"

    @property
    def member(self) -> str:
        """The same in the API's members: EndpointConfig of EndpointConfigName."""
        return self.title().replace("-", "")


@dataclass(frozen=True, slots=True)
class Record:
    """One promise. Times are Unix seconds; status and reason are empty but for endpoints."""

    kind: Kind
    name: str
    arn: str
    document: Document
    created_at: float
    modified_at: float
    status: str = ""
    reason: str = ""


class Records:
    """All records of one data folder. Names are unique without regard to case, as ARNs are."""

    def __init__(self, path: Path | str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA foreign_keys=ON")
        self._create_tables(path)

    def _create_tables(self, path: Path | str) -> None:
        with self.transaction():
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                raise RuntimeError(
                    f"{path} has tables of version {version}; this modelplex knows version "
                    f"{VERSION}. Start the modelplex that wrote it, or move the file away."
                )
            for step in _STEPS[version:]:
                for statement in step.split(";\n"):
                    self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version={VERSION}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes within happen, or none of them. Not to be nested, nor awaited in."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def get(self, kind: Kind, name: str) -> Record | None:
        """The record of that name, whatever the case it is asked in."""
        return next(iter(self._select("kind = ? AND name = ?", (kind, name))), None)

    def by_arn(self, arn: str) -> Record | None:
        """The record of that ARN, whatever the case it is asked in."""
        return next(iter(self._select("arn = ?", (arn,))), None)

    def all(self, kind: Kind) -> list[Record]:
        """Every record of a kind, oldest first."""
        return self._select("kind = ? ORDER BY created_at, arn", (kind,))

    def find(
        self,
        kind: Kind,
        *,
        where: Sequence[tuple[str, Any]] = (),
        order_by: str = "created_at",
        descending: bool = True,
        after: tuple[Any, str] | None = None,
        limit: int = 10,
    ) -> list[Record]:
        """One page of a kind's records.

        `where` are SQL conditions written in this package with their values; `after` is the (sort
        value, ARN) of the last row of the page before: rows put in meanwhile repeat and hide none.
        """
        relation, way = ("<", "DESC") if descending else (">", "ASC")
        conditions = ["kind = ?", *(condition for condition, _ in where)]
        values = [kind, *(value for _, value in where)]
        if after is not None:
            conditions.append(f"({order_by}, arn) {relation} (?, ?)")
            values.extend(after)
        order = f"ORDER BY {order_by} {way}, arn {way} LIMIT ?"
        return self._select(f"{' AND '.join(conditions)} {order}", (*values, limit))

    def put(self, record: Record) -> None:
        """Store a new record. Raises sqlite3.IntegrityError where its name or ARN is taken."""
        text = json.dumps(record.document, separators=(",", ":"))
        row = (record.kind, record.name, record.arn, text, record.created_at)
        rest = (record.modified_at, record.status, record.reason)
        marks = ", ".join("?" * 8)
        self._db.execute(f"INSERT INTO records ({_COLUMNS}) VALUES ({marks})", row + rest)

    def set_status(self, arn: str, status: str, reason: str = "") -> None:
        """Change a record's status and reason, as of now."""
        sql = "UPDATE records SET status = ?, reason = ?, modified_at = ? WHERE arn = ?"
        self._db.execute(sql, (status, reason, now(), arn))

    def delete(self, arn: str) -> None:
        """Remove a record, its tags and its rules."""
        self._db.execute("DELETE FROM records WHERE arn = ?", (arn,))

    def tags(self, arn: str) -> dict[str, str]:
        """A record's tags, in the order in which their keys were first set."""
        sql = "SELECT key, value FROM tags WHERE arn = ? ORDER BY rowid"
        return dict(self._db.execute(sql, (arn,)).fetchall())

    def set_tags(self, arn: str, tags: Iterable[tuple[str, str]]) -> None:
        """Add tags to a record, or change the values of those that it has."""
        sql = (
            "INSERT INTO tags (arn, key, value) VALUES (?, ?, ?) "
            "ON CONFLICT (arn, key) DO UPDATE SET value = excluded.value"
        )
        self._db.executemany(sql, [(arn, key, value) for key, value in tags])

    def delete_tags(self, arn: str, keys: Iterable[str]) -> None:
        """Take tags away; keys that a record does not have are passed over."""
        sql = "DELETE FROM tags WHERE arn = ? AND key = ?"
        self._db.executemany(sql, [(arn, key) for key in keys])

    def rules(self, arn: str) -> Document | None:
        """What is wanted for the models of an endpoint; None if nothing was ever said."""
        found = self._db.execute("SELECT document FROM rules WHERE arn = ?", (arn,)).fetchone()
        return None if found is None else dict(json.loads(found[0]))

    def set_rules(self, arn: str, document: Document) -> None:
        """Replace what is wanted for the models of an endpoint."""
        sql = (
            "INSERT INTO rules (arn, document) VALUES (?, ?) "
            "ON CONFLICT (arn) DO UPDATE SET document = excluded.document"
        )
        self._db.execute(sql, (arn, json.dumps(document, separators=(",", ":"))))

    def close(self) -> None:
        """Close the file; the log is folded into it."""
        self._db.close()

    def _select(self, condition: str, values: Sequence[Any]) -> list[Record]:
        rows = self._db.execute(f"SELECT {_COLUMNS} FROM records WHERE {condition}", values)
        return [
            Record(Kind(kind), name, arn, json.loads(document), *rest)
            for kind, name, arn, document, *rest in rows
        ]


def now() -> float:
    """The time as records keep it: Unix seconds to the millisecond, as the service's times."""
    return round(time.time(), 3)
