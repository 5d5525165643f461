"""The log of facts and orders: every kind there and back, and a replay that decides the same."""

from __future__ import annotations

import pickle
import random
from base64 import b64encode
from typing import Any, get_args, get_type_hints

import pytest

from modelplex.core import events as e
from modelplex.core.limits import Limits
from modelplex.core.log import checkpoint, factlog
from modelplex.core.log.checkpoint import BadCheckpoint
from modelplex.core.log.factlog import BadLog, Entry, Header
from modelplex.core.residency import Residency
from modelplex.core.rules import Rule
from tests.core.test_histories import random_world

KINDS = [*get_args(e.Fact), *get_args(e.Action)]
SAMPLES: dict[Any, Any] = {
    int: 7,
    float: 0.1 + 0.2,
    bool: True,
    str: 'a\t"b\nc/ü.tar.gz',
    object: "why",
    str | None: None,
    e.Reason: e.Reason.DISK,
    e.Refusal: e.Refusal.NOT_READY,
    tuple[Rule, ...]: (Rule("a*", pinned=True, weight=2.5), Rule("*", refresh=True)),
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_fact_and_order_is_read_back_as_it_was(kind: type[Any]) -> None:
    """Whatever its fields are, names with tabs and line feeds included."""
    message = kind(*[SAMPLES[hint] for hint in get_type_hints(kind).values()])
    fact, order = (message, e.Answered(1)) if kind in get_args(e.Fact) else (e.Tick(), message)
    line = factlog.line(1 / 3, fact, [order])  # type: ignore[list-item]
    assert line.count("\n") == 1
    assert list(factlog.read([line])) == [Entry(1 / 3, fact, [order])]  # type: ignore[list-item]


def test_a_failure_of_the_shell_is_kept_as_its_text() -> None:
    """An exception says the same in the log as the text that is read back."""
    line = factlog.line(1.0, e.LoadFailed("m", ValueError("no such file")), [])
    (entry,) = factlog.read([line])
    assert entry.fact == e.LoadFailed("m", "no such file")
    assert factlog.line(1.0, entry.fact, []) == line


def test_a_log_that_a_kill_cut_off_ends_before_its_last_line() -> None:
    """The line without an end is left out."""
    lines = [factlog.line(1.0, e.Tick(), []), "2.0\tAnsw"]
    assert [entry.now for entry in factlog.read(lines)] == [1.0]


@pytest.mark.parametrize("line", ["x\n", "1.0\tNothing[]\n", "1.0\tAnswered[]\n", "1\tTick[\n"])
def test_a_line_that_is_none_is_named(line: str) -> None:
    """With its number."""
    with pytest.raises(BadLog, match="line 2 of the log"):
        list(factlog.read([line]))


def test_the_head_is_read_back() -> None:
    """And a log of another format, or none, is refused."""
    header = Header("i-1", "0.4.0", 12.5, "abc")
    assert factlog.read_head(factlog.head(header)) == header
    with pytest.raises(BadLog, match="format 9"):
        factlog.read_head(factlog.head(header).replace('"format": 1', '"format": 9'))
    with pytest.raises(BadLog, match="no header"):
        factlog.read_head("1.0\tTick[]\n")


class Recording:
    """A residency that writes its log from a certain fact on."""

    def __init__(self, residency: Residency, begin: int) -> None:
        self.residency = residency
        self.begin = begin
        self.facts = 0
        self.checkpoint = ""
        self.lines: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.residency, name)

    def handle(self, fact: e.Fact, now: float) -> list[e.Action]:
        """The residency's orders."""
        if self.facts == self.begin:
            self.checkpoint = checkpoint.take(self.residency)
        self.facts += 1
        orders = self.residency.handle(fact, now)
        if self.checkpoint:
            self.lines.append(factlog.line(now, fact, orders))
        return orders


@pytest.mark.parametrize("seed", range(8))
def test_a_replay_from_any_checkpoint_gives_the_same_orders(seed: int) -> None:
    """Random histories, recorded from a random moment on."""
    world = random_world(seed)
    log = Recording(world.residency, random.Random(seed).randint(0, 600))
    world.residency = log  # type: ignore[assignment]
    world.run(events_max=50_000)
    again = checkpoint.restore(log.checkpoint)
    for entry, line in zip(factlog.read(log.lines), log.lines, strict=True):
        assert factlog.line(entry.now, entry.fact, again.handle(entry.fact, entry.now)) == line
    again.check()


def test_failures_become_text_in_a_checkpoint() -> None:
    """Nothing but core's own classes is in it."""
    residency = Residency(Limits(memory_bytes=100, disk_bytes=100))
    residency.handle(e.Wanted("m"), 1.0)
    residency.handle(e.FetchFailed("m", ConnectionError("away")), 2.0)
    assert checkpoint.restore(checkpoint.take(residency)).snapshot() == residency.snapshot()


@pytest.mark.parametrize("what", [print, Limits(1, 1)])
def test_a_checkpoint_brings_nothing_else(what: object) -> None:
    """A log from elsewhere cannot call anything, and must hold a residency."""
    with pytest.raises(BadCheckpoint, match="the checkpoint holds"):
        checkpoint.restore(b64encode(pickle.dumps(what)).decode())


def test_nonsense_is_no_checkpoint() -> None:
    """Neither text nor a broken pickle."""
    for text in ("!!", b64encode(b"\x80\x05abc").decode()):
        with pytest.raises(BadCheckpoint, match="cannot be read"):
            checkpoint.restore(text)
