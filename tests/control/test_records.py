"""The records survive everything and keep to their rules."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from modelplex.control.records import Kind, Record, Records


def record(name: str, at: float = 1.0, kind: Kind = Kind.MODEL, status: str = "") -> Record:
    arn = f"arn:aws:sagemaker:us-west-2:123456789012:{kind}/{name.lower()}"
    return Record(kind, name, arn, {"Name": name, "Deep": {"List": [1, "é"]}}, at, at, status)


@pytest.fixture
def records() -> Records:
    return Records(":memory:")


def test_a_record_comes_back_as_it_was_put(records: Records) -> None:
    """Documents, times and all."""
    with records.transaction():
        records.put(record("Alpha", 12.345))
    assert records.get(Kind.MODEL, "Alpha") == record("Alpha", 12.345)
    assert records.by_arn(record("Alpha").arn) == record("Alpha", 12.345)


def test_names_are_unique_without_regard_to_case(records: Records) -> None:
    """As the ARNs made of them are; the case is kept."""
    records.put(record("Alpha"))
    with pytest.raises(sqlite3.IntegrityError):
        records.put(record("ALPHA"))
    found = records.get(Kind.MODEL, "aLPHa")
    assert found is not None
    assert found.name == "Alpha"


def test_the_same_name_may_be_a_model_and_an_endpoint(records: Records) -> None:
    """Names belong to their kind."""
    records.put(record("a"))
    records.put(record("a", kind=Kind.ENDPOINT))
    assert [each.kind for each in records.all(Kind.ENDPOINT)] == [Kind.ENDPOINT]


def test_a_failed_transaction_changes_nothing(records: Records) -> None:
    """All or nothing, tags included."""

    def fail() -> None:
        with records.transaction():
            records.put(record("a"))
            records.set_tags(record("a").arn, [("k", "v")])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert records.get(Kind.MODEL, "a") is None
    records.put(record("a"))
    assert records.tags(record("a").arn) == {}


def test_tags_are_overwritten_kept_in_order_and_deleted_with_their_record(
    records: Records,
) -> None:
    """A tag's place is that of its first value."""
    arn = record("a").arn
    records.put(record("a"))
    records.set_tags(arn, [("one", "1"), ("two", "2")])
    records.set_tags(arn, [("one", "uno"), ("three", "3")])
    assert list(records.tags(arn).items()) == [("one", "uno"), ("two", "2"), ("three", "3")]
    records.delete_tags(arn, ["two", "never"])
    assert list(records.tags(arn)) == ["one", "three"]
    records.delete(arn)
    records.put(record("a"))
    assert records.tags(arn) == {}


@pytest.mark.parametrize("order", ["created_at", "name", "status"])
@pytest.mark.parametrize("descending", [True, False])
def test_pages_cover_everything_once_in_order(
    records: Records, order: str, descending: bool
) -> None:
    """Also where many rows have the same value in the sorted column."""
    for number in range(25):
        name = f"m{number * 7 % 25:02}"
        records.put(record(name, float(number // 5), status="on" if number % 2 else "off"))
    seen: list[Record] = []
    after = None
    while page := records.find(
        Kind.MODEL, order_by=order, descending=descending, after=after, limit=4
    ):
        seen += page
        after = (getattr(page[-1], order), page[-1].arn)
    keys = [(getattr(each, order), each.arn) for each in seen]
    assert keys == sorted(keys, reverse=descending)
    assert len(set(keys)) == 25


def test_a_page_is_stable_under_inserts_and_deletes(records: Records) -> None:
    """Rows put in or taken away elsewhere neither repeat nor hide others."""
    for number in range(6):
        records.put(record(f"m{number}", float(number)))
    first = records.find(Kind.MODEL, descending=True, limit=3)
    records.put(record("new", 99.0))
    records.delete(first[-1].arn)
    rest = records.find(
        Kind.MODEL, descending=True, limit=9, after=(first[-1].created_at, first[-1].arn)
    )
    assert [each.name for each in first + rest] == ["m5", "m4", "m3", "m2", "m1", "m0"]


def test_the_file_is_refused_when_its_version_is_unknown(tmp_path: Path) -> None:
    """A newer modelplex's file is not touched by an older one."""
    path = tmp_path / "records.sqlite"
    Records(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(RuntimeError, match="version 99"):
        Records(path)


WRITER = """
import sys
from modelplex.control.records import Kind, Record, Records
records = Records(sys.argv[1])
for number in range(10**6):
    with records.transaction():
        arn = f"arn:aws:sagemaker:us-west-2:123456789012:model/m{number}"
        records.put(Record(Kind.MODEL, f"m{number}", arn, {"n": number}, number, number))
        records.set_tags(arn, [("n", str(number))])
    print(number, flush=True)
"""


def test_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    """SIGKILL in the middle of writing loses nothing committed and leaves nothing half."""
    path = tmp_path / "records.sqlite"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        said = [int(writer.stdout.readline()) for _ in range(40)]
        os.kill(writer.pid, signal.SIGKILL)
        said += [int(line) for line in writer.stdout.read().split()]
    records = Records(path)
    found = records.all(Kind.MODEL)
    assert {each.document["n"] for each in found} >= set(said)
    for each in found:
        assert records.tags(each.arn) == {"n": str(each.document["n"])}
    records.close()


def test_a_file_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    """It had no rules; nothing else of it changes."""
    path = tmp_path / "records.sqlite"
    old = Records(path)
    old.put(record("e", kind=Kind.ENDPOINT))
    old.close()
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE rules")
        db.execute("PRAGMA user_version=1")
    db.close()
    records = Records(path)
    arn = record("e", kind=Kind.ENDPOINT).arn
    assert records.rules(arn) is None
    records.set_rules(arn, {"rules": [], "rejected": []})
    records.close()
    again = Records(path)
    assert again.rules(arn) == {"rules": [], "rejected": []}
    again.close()
