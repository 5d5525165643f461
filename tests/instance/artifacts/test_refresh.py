"""The look at the store: whom it asks for, and what becomes of each answer."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from modelplex.aws.errors import ValidationError
from modelplex.core import events as e
from modelplex.core.limits import Limits
from modelplex.core.residency import Residency
from modelplex.core.rules import Rule
from modelplex.instance.artifacts.refresh import Refresher
from modelplex.instance.artifacts.store import FetchFailure, Unavailable
from modelplex.instance.logs.history import History
from modelplex.instance.logs.journal import Journal
from modelplex.instance.logs.streams import Logs


class Look:
    """A refresher over two models on the disk, `a` and `b`, and a store of versions by name."""

    def __init__(self, folder: Path) -> None:
        self.store: dict[str, str | Exception] = {"a": "v1", "b": "v1"}
        self.asked: list[str] = []
        self.told: list[e.Fact] = []
        self.residency = Residency(Limits(memory_bytes=1000, disk_bytes=1000))
        for name in self.store:
            self.residency.handle(e.Recovered(name, 1, version="v1"), 0.0)
        self.folder = folder
        self.logs = Logs(folder, "stream", 10**6)
        self.refresher = Refresher(
            residency=self.residency,
            notify=self.notify,
            ask=self.ask,
            history=History(Journal(time.time), self.logs),
            interval_s=0.001,
            draw=lambda: 0.5,
        )
        self.refresher.rules = (Rule("b", refresh=True), Rule("c", refresh=True))

    async def ask(self, name: str) -> str:
        self.asked.append(name)
        found = self.store[name]
        if isinstance(found, Exception):
            raise found
        return found

    def notify(self, fact: e.Fact) -> None:
        self.told.append(fact)
        self.residency.handle(fact, 1.0)

    def said(self) -> str:
        self.logs.close()
        return "".join(path.read_text() for path in self.folder.rglob("*") if path.is_file())


@pytest.fixture
def look(tmp_path: Path) -> Look:
    return Look(tmp_path)


async def test_only_models_that_are_here_and_have_the_rule_are_looked_at(look: Look) -> None:
    """`a` has no rule, `c` is not here."""
    await look.refresher.look()
    assert (look.asked, look.told) == (["b"], [])


async def test_another_version_is_told_once(look: Look) -> None:
    """What is noted, under way or rejected is no news."""
    look.store["b"] = "v2"
    await look.refresher.look()
    await look.refresher.look()
    assert look.told == [e.Changed("b", "v2")]
    look.store["b"] = ""
    await look.refresher.look()
    assert len(look.told) == 1


async def test_a_deleted_artifact_is_noted_once(look: Look) -> None:
    """The version that is here serves on."""
    look.store["b"] = FetchFailure(ValidationError("Failed to download model data"))
    await look.refresher.look()
    await look.refresher.look()
    assert look.told == []
    assert look.said().count("keeps the version that is here") == 1


async def test_a_store_that_is_away_is_asked_less_and_less(look: Look) -> None:
    """And as usual when it is back."""
    look.refresher.rules = (Rule("*", refresh=True),)
    look.store |= {"a": Unavailable("timed out"), "b": Unavailable("timed out")}
    pauses = []
    for _ in range(6):
        await look.refresher.look()
        pauses.append(look.refresher.pause_s)
    assert pauses == [0.002, 0.004, 0.008, 0.016, 0.016, 0.016]
    look.store |= {"a": "v1", "b": "v1"}
    await look.refresher.look()
    assert look.refresher.pause_s == 0.001
