"""The last events of an instance."""

from __future__ import annotations

from modelplex.instance.logs.journal import KEPT, Journal


def test_events_come_in_order_after_a_number() -> None:
    """Who asks with `next` gets what is new, and nothing twice."""
    journal = Journal(lambda: 7.0)
    journal.write("loaded", "a", pid=1)
    journal.answered("a", b"r", "warm", 200, (0.0, 0.0, 0.0, 0.0015))
    first = journal.after(0)
    assert [(e["n"], e["event"]) for e in first["events"]] == [(1, "loaded"), (2, "invoked")]
    assert first["events"][0] == {"n": 1, "at": 7.0, "event": "loaded", "model": "a", "pid": 1}
    told = first["events"][1]
    assert (told["request_id"], told["start"], told["handle"]) == ("r", "warm", 1.5)
    journal.write("unloaded", "a")
    assert [e["event"] for e in journal.after(first["next"])["events"]] == ["unloaded"]
    assert journal.after(3) == {"next": 3, "events": []}


def test_traffic_does_not_push_out_what_explains_it() -> None:
    """A thousand answers are kept, and a thousand of everything else beside them."""
    journal = Journal(lambda: 0.0)
    journal.write("loaded", "a")
    for _ in range(3 * KEPT):
        journal.answered("a", b"r", "warm", 200, (0.0, 0.0, 0.0, 0.0015))
    events = journal.after(0)["events"]
    assert events[0]["event"] == "loaded"
    assert len(events) == 1 + KEPT
    assert journal.counters == {"loaded": 1, "invoked": 3 * KEPT}
