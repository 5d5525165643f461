"""What an unload gave back, beside what it should have."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelplex.core.events import Reason, Unload
from modelplex.instance.logs.history import History
from modelplex.instance.logs.journal import Journal
from modelplex.instance.logs.streams import Logs
from modelplex.instance.processes import receipts
from modelplex.instance.processes.receipts import Receipt

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("receipt", "short"),
    [
        (Receipt(100, 100), False),
        (Receipt(100, 90), False),
        (Receipt(100, 89), True),
        (Receipt(0, 0), False),
        (Receipt(100, 0, whole_process=False), False),
    ],
)
def test_short_is_less_than_nine_tenths(receipt: Receipt, short: bool) -> None:
    """Of one model among many in a process nothing is expected before that is replaced."""
    assert receipt.short is short


async def test_nothing_is_expected_of_what_is_gone() -> None:
    """A worker that died before its unload was ordered."""
    assert await receipts.unload(None) == Receipt(0, 0)


@pytest.mark.parametrize(
    ("freed", "kinds"), [(60, {"unloaded"}), (20, {"unloaded", "short_unload"})]
)
def test_what_is_missing_is_counted_and_said(tmp_path: Path, freed: int, kinds: set[str]) -> None:
    """In the journal with both numbers, and in the instance's log stream."""
    logs = Logs(tmp_path, "AllTraffic~i-1", 1_000_000)
    history = History(Journal(lambda: 0.0), logs)
    order = Unload("m", Reason.MEMORY, "other")
    history.unloaded(order, Receipt(60 * MIB, freed * MIB), 100 * MIB, 40 * MIB)
    logs.close()
    events = history.journal.after(0)["events"]
    assert {event["event"] for event in events} == kinds
    assert all(event["expected_bytes"] == 60 * MIB for event in events)
    assert all(event["freed_bytes"] == freed * MIB for event in events)
    assert history.journal.counters.get("short_unload", 0) == len(kinds) - 1
    said = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert ("60.0 MiB were expected back" in said) is (freed == 20)
