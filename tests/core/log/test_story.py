"""One model's story out of the log: what happened, why, for whom, and at what cost."""

from __future__ import annotations

from modelplex.core import events as e
from modelplex.core.keys import key_of
from modelplex.core.log.factlog import Entry
from modelplex.core.log.story import MOMENTS_MAX, tell

HISTORY = [
    Entry(1.0, e.Invoked(1, "a"), [e.Fetch("a", 100)]),
    Entry(1.5, e.Fetched("a", 60), [e.Load("a", 50)]),
    Entry(1.7, e.Loaded("a", 40), [e.Forward(1, "a")]),
    Entry(1.8, e.Answered(1), []),
    Entry(2.0, e.Invoked(2, "b"), [e.Unload("a", e.Reason.MEMORY, "b")]),
    Entry(2.1, e.Unloaded("a"), [e.Load("b", 50)]),
    Entry(2.2, e.Invoked(3, "a"), []),
    Entry(9.0, e.Tick(), [e.Reject(3, e.Refusal.NOT_READY), e.Reject(2, e.Refusal.NOT_READY)]),
]


def test_steps_become_moments_with_their_cost() -> None:
    """An order and the fact that answers it are one."""
    story = tell(HISTORY, "a")
    assert [moment.what for moment in story.moments] == ["fetched", "loaded", "unloaded"]
    fetched, loaded, unloaded = story.moments
    assert (fetched.at, fetched.facts) == (1.5, {"seconds": 0.5, "disk_bytes": 60})
    assert (loaded.at, loaded.facts) == (1.7, {"seconds": 0.2, "memory_bytes": 40})
    assert (unloaded.at, unloaded.facts) == (2.1, {"reason": "memory", "for_model": "b"})
    assert story.began_at == 1.0


def test_requests_are_counted_by_their_end() -> None:
    """Only those of the model."""
    story = tell(HISTORY, "a")
    assert (story.forwarded, story.refused) == (1, {"not_ready": 1})


def test_versions_are_told_apart() -> None:
    """A switch, and what became of each version."""
    new = key_of("a", "v2")
    story = tell(
        [
            Entry(1.0, e.Changed("a", "v2"), [e.Fetch(new, 9)]),
            Entry(2.0, e.Fetched(new, 9), [e.Load(new, 9)]),
            Entry(3.0, e.Loaded(new, 9), [e.Switch("a", new), e.Unload("a", e.Reason.REPLACED)]),
            Entry(4.0, e.Unloaded("a"), []),
            Entry(5.0, e.Changed("a", "v3"), [e.Discard(key_of("a", "v3"), "broken")]),
        ],
        "a",
    )
    told = [(moment.what, moment.facts.get("version")) for moment in story.moments]
    assert told == [
        ("changed", "v2"),
        ("fetched", "v2"),
        ("loaded", "v2"),
        ("switched", "v2"),
        ("unloaded", None),
        ("changed", "v3"),
        ("discarded", "v3"),
    ]
    assert story.last("unloaded", "switched") == story.moments[4]


def test_failures_say_why() -> None:
    """With the text of the reason."""
    story = tell([Entry(1.0, e.Crashed("a", "segfault"), [])], "a")
    assert [(m.what, m.facts) for m in story.moments] == [("crashed", {"why": "segfault"})]


def test_the_newest_moments_are_kept() -> None:
    """However long the log is."""
    log = [Entry(float(at), e.Crashed("a", str(at)), []) for at in range(MOMENTS_MAX + 5)]
    story = tell(log, "a")
    assert len(story.moments) == MOMENTS_MAX
    assert story.moments[-1].at == MOMENTS_MAX + 4
