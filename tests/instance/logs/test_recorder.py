"""The log on the disk: segments that replay by themselves, within their bytes, gone with none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelplex.core import events as e
from modelplex.core.limits import Limits
from modelplex.core.log import checkpoint, factlog
from modelplex.core.residency import Residency
from modelplex.instance.logs import explain
from modelplex.instance.logs.recorder import SEGMENTS, Recorder

MADE: list[Recorder] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Close every recorder that a test has made."""
    yield
    for recorder in MADE:
        recorder.close()
    MADE.clear()


class Life:
    """A residency whose facts are recorded."""

    def __init__(self, folder: Path, bytes_max: int) -> None:
        self.residency = Residency(Limits(memory_bytes=1000, disk_bytes=1000))
        self.recorder = Recorder(folder, "i-1", bytes_max)
        self.now = 0.0
        MADE.append(self.recorder)

    def tell(self, *facts: e.Fact) -> None:
        """Hand in facts, a second apart."""
        for fact in facts:
            self.now += 1.0
            self.recorder.before(self.residency)
            self.recorder.record(self.now, fact, self.residency.handle(fact, self.now))

    def bring(self, name: str) -> None:
        """Have a model loaded by a request."""
        self.tell(e.Invoked(1, name), e.Fetched(name, 10), e.Loaded(name, 20), e.Answered(1))


def test_every_segment_replays_by_itself(tmp_path: Path) -> None:
    """Old ones are removed; the oldest that is left begins with the state it starts from."""
    life = Life(tmp_path, SEGMENTS * 2000)
    life.bring("m")
    for number in range(2, 500):
        life.tell(e.Invoked(number, "m"), e.Answered(number))
    segments = life.recorder.segments()
    assert len(segments) == SEGMENTS
    for path in segments:
        with path.open() as lines:
            again = checkpoint.restore(factlog.read_head(lines.readline()).checkpoint)
            for entry in factlog.read(lines):
                assert again.handle(entry.fact, entry.now) == entry.orders
    assert again.snapshot() == life.residency.snapshot()


def test_nothing_is_written_where_nothing_may_be(tmp_path: Path) -> None:
    """With 0 bytes there is no log."""
    life = Life(tmp_path / "facts", 0)
    life.bring("m")
    assert life.recorder.segments() == []


def test_a_disk_that_fails_costs_the_log_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The instance goes on, and says once that nothing is recorded."""
    (tmp_path / "facts").write_text("a file in the way")
    life = Life(tmp_path / "facts", 1000)
    life.bring("m")
    assert [record.message for record in caplog.records] == ["facts.not_recorded"]


def test_a_disk_that_is_full_keeps_nobody_from_ending(tmp_path: Path) -> None:
    """What cannot be written is lost: reading the log and closing it go on."""
    life = Life(tmp_path, 100_000)
    life.recorder.before(life.residency)
    newest = max(tmp_path.glob("*.log"))
    full = os.open("/dev/full", os.O_WRONLY)
    descriptor = next(
        int(each.name)
        for each in Path("/proc/self/fd").iterdir()
        if os.path.realpath(each) == str(newest)
    )
    os.dup2(full, descriptor)
    os.close(full)
    life.bring("m")
    assert newest in life.recorder.segments()
    life.recorder.close()


def test_a_model_is_explained_from_its_log(tmp_path: Path) -> None:
    """Where it is, what it cost, and what it would cost again; over several lives."""
    first = Life(tmp_path, 100_000)
    first.bring("m")
    first.recorder.close()
    life = Life(tmp_path, 100_000)
    life.tell(e.Recovered("m", 10))
    life.bring("other")
    told = explain.of_model(life.residency, explain.read(life.recorder.segments(), "m"))
    assert [each["what"] for each in told["moments"]] == ["fetched", "loaded", "recovered"]
    assert [copy["state"] for copy in told["copies"]] == ["on_disk"]
    assert told["last_load"]["seconds"] == 1.0
    assert told["requests"] == {"forwarded": 1, "refused": {}}
    loaded = explain.of_model(life.residency, explain.read(life.recorder.segments(), "other"))
    assert loaded["copies"][0]["leaves_after"] == 0
    assert loaded["back_in_s"] == 0.0


def test_what_was_never_asked_for_is_said_so(tmp_path: Path) -> None:
    """No copies, no moments, nothing known of its cost."""
    life = Life(tmp_path, 100_000)
    told = explain.of_model(life.residency, explain.read([], "nobody"))
    assert (told["copies"], told["moments"], told["back_in_s"]) == ([], [], None)
