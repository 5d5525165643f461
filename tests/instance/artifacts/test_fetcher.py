"""A process of its own that fetches: what it brings, what it says, and what becomes of its end."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from modelplex.archives.tree import Bounds, Overran, Refused
from modelplex.aws.errors import ValidationError
from modelplex.aws.locations import FileLocation
from modelplex.instance.artifacts.fetcher import STOP_LOOK_S, Fetcher
from modelplex.instance.artifacts.opening import Download, Stopped
from modelplex.instance.artifacts.store import FetchFailure, Unavailable
from modelplex.instance.spec import StoreKeys
from tests.instance.archives import Entry, targz
from tests.instance.running import KEYS, MIB
from tests.support.processes import eventually, processes_of

BOUNDS = Bounds(10 * MIB, 100, 100 * MIB)
ARCHIVE = targz(Entry("f", b"x" * 1000), Entry("g", os.urandom(2 * MIB)))


@pytest.fixture
def fetcher(tmp_path: Path) -> Iterator[Fetcher]:
    """One with two tubes over `tmp_path`, where the archive `a` lies."""
    (tmp_path / "a").write_bytes(ARCHIVE)
    keys = StoreKeys("http://127.0.0.1:1", "us-west-2", **KEYS)
    fetcher = Fetcher(keys, (tmp_path,), 2, tmp_path)
    yield fetcher
    fetcher.close()
    assert not processes_of(tmp_path)


def at(path: Path) -> FileLocation:
    """A file of this machine."""
    return FileLocation(PurePosixPath(path))


def test_an_archive_is_unpacked_by_another_process(fetcher: Fetcher, tmp_path: Path) -> None:
    """It tells of size, version, content and bytes; what is opened in vain gives its tube back."""
    for _ in range(3):
        opened = fetcher.open(at(tmp_path / "a"))
        opened.close()
    opened, download = fetcher.open(at(tmp_path / "a")), Download()
    taken = opened.unpack(tmp_path / "out", BOUNDS, download)
    opened.close()
    assert (opened.size, opened.version) == (len(ARCHIVE), fetcher.version(at(tmp_path / "a")))
    assert (download.archive_bytes, download.received_bytes) == (len(ARCHIVE), len(ARCHIVE))
    assert (len(download.content), taken) == (64, 4096 + 2 * MIB)
    assert (tmp_path / "out/f").read_bytes() == b"x" * 1000


def test_what_it_meets_is_raised_here(fetcher: Fetcher, tmp_path: Path) -> None:
    """Each kind of failure as if it had happened in this process; none of them costs a tube."""
    (tmp_path / "bad").write_bytes(b"no archive")
    for _ in range(2):
        with pytest.raises(FetchFailure) as failure:
            fetcher.open(at(tmp_path / "none"))
        assert isinstance(failure.value.error, ValidationError)
        for name, bounds, kind in (
            ("bad", BOUNDS, Refused),
            ("a", Bounds(MIB, 100, 100 * MIB), Overran),
        ):
            opened = fetcher.open(at(tmp_path / name))
            with pytest.raises(kind):
                opened.unpack(tmp_path / f"{name}-{os.urandom(4).hex()}", bounds, Download())
            opened.close()
        opened = fetcher.open(at(tmp_path / "a"))
        with pytest.raises(FileNotFoundError):
            opened.unpack(tmp_path / "no/folder", BOUNDS, Download())
        opened.close()


def test_a_download_can_be_stopped(fetcher: Fetcher, tmp_path: Path) -> None:
    """The process is told, and stops at the next chunk; the tube is good for another one."""
    opened, download = fetcher.open(at(tmp_path / "a")), Download()
    pid = pid_of(fetcher, tmp_path)
    os.kill(pid, signal.SIGSTOP)
    download.stop.set()
    going_on = threading.Timer(3 * STOP_LOOK_S, os.kill, (pid, signal.SIGCONT))
    going_on.start()
    with pytest.raises(Stopped):
        opened.unpack(tmp_path / "stopped", BOUNDS, download)
    opened.close()
    for n in range(2):
        with contextlib.closing(fetcher.open(at(tmp_path / "a"))) as again:
            again.unpack(tmp_path / f"out{n}", BOUNDS, Download())


def pid_of(fetcher: Fetcher, folder: Path) -> int:
    """The process at work."""
    fetcher.start()
    (pid,) = processes_of(folder)
    return pid


def test_its_end_is_a_broken_download_and_the_next_one_has_another(
    fetcher: Fetcher, tmp_path: Path
) -> None:
    """Killed in the middle; nobody waits for it, and whoever comes next starts it again."""
    opened = fetcher.open(at(tmp_path / "a"))
    first = pid_of(fetcher, tmp_path)
    os.kill(first, signal.SIGKILL)
    with pytest.raises(Unavailable, match="has ended"):
        opened.unpack(tmp_path / "broken", BOUNDS, Download())
    opened.close()
    eventually(lambda: first not in processes_of(tmp_path))
    again = fetcher.open(at(tmp_path / "a"))
    again.unpack(tmp_path / "out", BOUNDS, Download())
    again.close()
    assert pid_of(fetcher, tmp_path) != first


def test_it_goes_behind_others(fetcher: Fetcher, tmp_path: Path) -> None:
    """By nice value and policy, with all its threads."""
    fetcher.open(at(tmp_path / "a")).close()
    pid = pid_of(fetcher, tmp_path)
    for thread in map(int, os.listdir(f"/proc/{pid}/task")):
        assert os.getpriority(os.PRIO_PROCESS, thread) >= 10
        assert os.sched_getscheduler(thread) == os.SCHED_BATCH
