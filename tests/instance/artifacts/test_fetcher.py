"""A process of its own that keeps the disk: what it brings, says, and what becomes of its end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from modelplex.archives.tree import Overran
from modelplex.aws.errors import InternalFailure, ValidationError
from modelplex.instance.artifacts import fetcher as fetchers
from modelplex.instance.artifacts.child import Ended
from modelplex.instance.artifacts.download import Stopped
from modelplex.instance.artifacts.fetcher import Fetcher
from modelplex.instance.artifacts.preparation import Prepare
from modelplex.instance.artifacts.store import FetchFailure, Unavailable
from modelplex.instance.artifacts.wire import Storage
from modelplex.instance.spec import StoreKeys
from modelplex.settings import Settings
from tests.instance.archives import Entry, targz
from tests.instance.running import KEYS, MIB
from tests.support.processes import eventually, processes_of
from tests.support.waiting import eventually as eventually_in_loop

Make = Callable[..., Fetcher]
ARCHIVE = targz(Entry("f", b"x" * 1000), Entry("g", os.urandom(2 * MIB)))
LIMIT = 10 * MIB


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """A maker of fetchers over `tmp_path`, where the archive `a` lies."""
    (tmp_path / "a").write_bytes(ARCHIVE)
    made: list[Fetcher] = []

    def build(prepare: Prepare | None = None, folder: str = "disk") -> Fetcher:
        storage = Storage(
            folder=tmp_path / folder,
            keys=StoreKeys("http://127.0.0.1:1", "us-west-2", **KEYS),
            file_roots=(tmp_path,),
            model_data_url=f"file://{tmp_path}/",
            multi_model=True,
            share=True,
            prepares=prepare is not None,
            at_once=2,
            limits=Settings(),
        )
        made.append(Fetcher(storage, tmp_path, prepare))
        return made[-1]

    yield build
    for fetcher in made:
        fetcher.close()
    assert not processes_of(tmp_path)


@pytest.fixture
def fetcher(make: Make) -> Fetcher:
    """One of them."""
    return make()


async def pid_of(fetcher: Fetcher, folder: Path) -> int:
    """The process at work."""
    await fetcher.recovered()
    (pid,) = processes_of(folder)
    return pid


async def test_another_process_brings_and_drops_artifacts(fetcher: Fetcher, tmp_path: Path) -> None:
    """It tells of bytes, content, version, and of each step; a later one finds what is there."""
    assert await fetcher.recovered() == {}
    found, steps = await fetcher.fetch("a", LIMIT)
    assert (len(found.content), found.disk_bytes) == (64, 4096 + 2 * MIB)
    assert found.version == await fetcher.version("a")
    assert set(steps) == {"open", "arrive", "inflate", "write"}
    assert (fetcher.folder("a") / "f").read_bytes() == b"x" * 1000
    assert fetcher.content("a") == found.content
    assert (fetcher.original(found.content) / "f").stat().st_size == 1000
    fetcher.serves("a")
    await fetcher.drop("a")
    await fetcher.drop("a")
    assert not fetcher.folder("a").exists()
    assert fetcher.content("a") == ""


async def test_a_later_life_knows_what_is_there(make: Make) -> None:
    """By model, with the content."""
    first = make()
    found, _ = await first.fetch("a", LIMIT)
    first.close()
    later = make()
    assert await later.recovered() == {"a": found}
    assert later.content("a") == found.content


async def test_what_it_meets_is_raised_here(fetcher: Fetcher, tmp_path: Path) -> None:
    """Each kind of failure as if it had happened in this process."""
    (tmp_path / "bad").write_bytes(b"no archive")
    for name, words in (("none", "there is an object"), ("bad", "cannot be used")):
        with pytest.raises(FetchFailure, match=words) as failure:
            await fetcher.fetch(name, LIMIT)
        assert isinstance(failure.value.error, ValidationError)
    with pytest.raises(Overran) as overran:
        await fetcher.fetch("a", MIB)
    assert overran.value.needed_bytes > MIB
    with pytest.raises(FetchFailure):
        await fetcher.version("none")
    assert not list((tmp_path / "disk/tmp").iterdir())


async def test_a_disk_that_cannot_be_used_is_said(make: Make, tmp_path: Path) -> None:
    """By who looks what is there, and by every fetch; the process is none the less ended."""
    (tmp_path / "file").write_text("no folder")
    fetcher = make(folder="file")
    with pytest.raises(NotADirectoryError):
        await fetcher.recovered()
    with pytest.raises(FetchFailure) as failure:
        await fetcher.fetch("a", LIMIT)
    assert isinstance(failure.value.error, InternalFailure)


async def test_many_orders_are_under_way_at_once(fetcher: Fetcher, tmp_path: Path) -> None:
    """More than it has threads wait for each other; each gets its own answer."""
    names = [f"m{n}" for n in range(12)]
    for name in names:
        (tmp_path / name).write_bytes(targz(Entry("name", name.encode())))
    await asyncio.gather(*(fetcher.fetch(name, LIMIT) for name in names))
    for name in names:
        assert (fetcher.folder(name) / "name").read_text() == name
    await asyncio.gather(*map(fetcher.drop, names))
    assert not list((tmp_path / "disk/models").iterdir())


async def begun(fetcher: Fetcher, tmp_path: Path) -> tuple[int, asyncio.Task[object]]:
    """A fetch under way by a process that has been halted, and the process."""
    pid = await pid_of(fetcher, tmp_path)
    os.kill(pid, signal.SIGSTOP)
    under_way = asyncio.ensure_future(fetcher.fetch("a", LIMIT))
    await asyncio.sleep(0)  # it asks
    return pid, under_way


async def test_a_fetch_can_be_stopped(fetcher: Fetcher, tmp_path: Path) -> None:
    """The process is told, and stops at the next chunk; the model can be fetched again."""
    (tmp_path / "a").write_bytes(targz(Entry("g", os.urandom(8 * MIB))))  # many chunks
    pid, under_way = await begun(fetcher, tmp_path)
    fetcher.stop("a")
    os.kill(pid, signal.SIGCONT)
    with pytest.raises(Stopped):
        await under_way
    await fetcher.fetch("a", LIMIT)
    assert await pid_of(fetcher, tmp_path) == pid


async def test_a_process_that_hangs_is_ended(
    fetcher: Fetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it does not even stop; whoever comes next has another one."""
    monkeypatch.setattr(fetchers, "STOP_S", 0.05)
    pid, under_way = await begun(fetcher, tmp_path)
    fetcher.stop("a")
    with pytest.raises(Stopped):
        await under_way
    await fetcher.fetch("a", LIMIT)
    assert await pid_of(fetcher, tmp_path) != pid


async def test_one_that_hangs_from_its_start_is_ended(
    fetcher: Fetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for it is let go when told to stop, and the next one has another process."""
    monkeypatch.setattr(fetchers, "STOP_S", 0.05)
    fetcher.start()
    (pid,) = processes_of(tmp_path)
    os.kill(pid, signal.SIGSTOP)
    under_way = asyncio.ensure_future(fetcher.fetch("a", LIMIT))
    await asyncio.sleep(0)
    fetcher.stop("a")
    with pytest.raises(Stopped):
        await under_way
    await fetcher.fetch("a", LIMIT)
    assert await pid_of(fetcher, tmp_path) != pid


async def test_an_order_to_one_that_has_ended_is_not_waited_for(
    fetcher: Fetcher, tmp_path: Path
) -> None:
    """Though it was ready a moment ago."""
    pid = await pid_of(fetcher, tmp_path)
    child = fetcher._child
    assert child is not None
    os.kill(pid, signal.SIGKILL)
    await eventually_in_loop(lambda: child.ended)
    with pytest.raises(Ended):
        await child.ask(child.number(), {"drop": "a"})


async def test_what_its_end_cut_short_is_done_again(
    fetcher: Fetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another process, which finds what the first one had brought."""
    monkeypatch.setattr(fetchers, "PAUSE_S", 0.01)
    (tmp_path / "before").write_bytes(targz(Entry("f", b"x")))
    await fetcher.fetch("before", LIMIT)
    first, under_way = await begun(fetcher, tmp_path)
    os.kill(first, signal.SIGKILL)
    await under_way
    assert (fetcher.folder("a") / "f").is_file()
    assert await pid_of(fetcher, tmp_path) != first
    assert set(await fetcher.recovered()) == {"before"}


async def test_one_that_ends_while_nobody_wants_it_is_replaced(
    fetcher: Fetcher, tmp_path: Path
) -> None:
    """By whoever comes next."""
    first = await pid_of(fetcher, tmp_path)
    os.kill(first, signal.SIGKILL)
    eventually(lambda: first not in processes_of(tmp_path))
    await fetcher.fetch("a", LIMIT)
    assert await pid_of(fetcher, tmp_path) != first


async def test_ends_that_follow_one_another_are_the_instances_fault(
    fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a few tries; and nothing is tried once it is closed."""
    monkeypatch.setattr(fetchers, "PAUSE_S", 0.01)
    monkeypatch.setattr("modelplex.instance.artifacts.child._MODULE", "no.such.module")
    with pytest.raises(FetchFailure, match="the process that fetches has ended") as failure:
        await fetcher.fetch("a", LIMIT)
    assert isinstance(failure.value.error, InternalFailure)
    with pytest.raises(Unavailable):
        await fetcher.version("a")
    fetcher.close()
    with pytest.raises(Ended, match="the instance is being stopped"):
        await fetcher.drop("a")


async def test_the_image_is_asked_to_prepare(make: Make) -> None:
    """With the artifact's folder; what it adds is there, and what it says is the client's."""

    async def prepare(model: str, folder: Path) -> str:
        (folder / "made").write_text(model)
        return "" if model == "a" else "it has no network."

    fetcher = make(prepare)
    found, _ = await fetcher.fetch("a", LIMIT)
    assert (fetcher.folder("a") / "made").read_text() == "a"
    assert found.disk_bytes == 4096 + 2 * MIB + 4096
    os.link(fetcher.layout.models.parents[1] / "a", fetcher.layout.models.parents[1] / "b")
    await fetcher.drop("a")
    with pytest.raises(FetchFailure, match=r"cannot be used: it has no network\."):
        await fetcher.fetch("b", LIMIT)


async def test_it_goes_behind_others(fetcher: Fetcher, tmp_path: Path) -> None:
    """By nice value and policy, with all its threads."""
    await fetcher.fetch("a", LIMIT)
    pid = await pid_of(fetcher, tmp_path)
    for thread in map(int, os.listdir(f"/proc/{pid}/task")):
        assert os.getpriority(os.PRIO_PROCESS, thread) >= 10
        assert os.sched_getscheduler(thread) == os.SCHED_BATCH
