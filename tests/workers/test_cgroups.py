"""Memory cgroups of workers: what RLIMIT_DATA does not see is limited all the same."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelplex.workers import cgroups
from modelplex.workers.cgroups import Cgroup
from modelplex.workers.errors import OutOfMemory, TookTooMuch
from modelplex.workers.limits import PoolLimits

MIB = 1024 * 1024

# Shared memory is not in RLIMIT_DATA. A model whose file says so takes it while it loads.
EATER = """
import mmap, os, subprocess, sys
held = []

def eat(mib):
    held.append(mmap.mmap(-1, mib << 20))
    for at in range(0, mib << 20, 4096):
        held[-1][at] = 1

def handle(data, context):
    if data is None:
        if os.path.exists("eat"):
            eat(int(open("eat").read()))
        return
    order = bytes(data[0]["body"]).split()
    if order[0] == b"eat":
        eat(int(order[1]))
    elif order[0] == b"child":
        text = "b = bytearray(%d << 20)" % int(order[1])
        return [b"%d" % subprocess.run([sys.executable, "-c", text]).returncode]
    elif order[0] == b"leave":
        with open(order[2], "wb") as file:
            file.write(bytes(int(order[1]) << 20))
    return [b"fine"]
"""


@pytest.fixture
def groups() -> Iterator[Path]:
    """The folder of an instance's group with 256 MiB."""
    folder = cgroups.open_instance(256 * MIB)
    if folder is None:
        pytest.skip("no memory cgroup can be made here: needs root, or a delegated group")
    yield folder
    cgroups.close_instance(folder)
    assert not folder.exists()


def members(folder: Path) -> list[str]:
    """The groups in a group."""
    return [path.parent.name for path in folder.glob("*/cgroup.procs")]


@pytest.fixture
async def stage(groups: Path, make_stage: Any) -> Any:
    """A pool of eaters that are put into groups."""
    limits = PoolLimits(memory_bytes_max=128 * MIB, memory_slack_bytes=16 * MIB, cgroup=groups)
    return await make_stage(EATER, limits=limits)


async def test_who_takes_too_much_is_killed_alone(stage: Any, groups: Path, tools: Any) -> None:
    """While it loads, while it predicts; and the neighbour hears nothing of it."""
    neighbour = await stage.load("neighbour")
    stage.model("glutton", {"eat": "90"})
    with pytest.raises(OutOfMemory, match="out of memory"):
        await stage.load("glutton", limit_bytes=32 * MIB)
    worker = await stage.load("late", limit_bytes=32 * MIB)
    assert (await tools.ask(worker, b"eat 90")).body == b"fine"  # loaded, it may grow
    with pytest.raises(TookTooMuch, match="out of memory"):
        await tools.ask(worker, b"eat 90")
    assert (await worker.exited).out_of_memory
    assert (await tools.ask(neighbour, b"hello")).body == b"fine"
    assert members(groups) == [f"w{neighbour.pid}"]


async def test_children_of_a_handler_count(stage: Any, tools: Any) -> None:
    """The larger one dies, which is the child, and the handler can tell of it."""
    worker = await stage.load()
    assert (await tools.ask(worker, b"child 20")).body == b"0"
    assert (await tools.ask(worker, b"child 200")).body == b"-9"


async def test_what_stays_behind_was_not_given_back(stage: Any, tools: Any) -> None:
    """A file in memory outlives its process; so do its bytes."""
    worker, file = await stage.load(), Path("/dev/shm", f"modelplex-test-{stage.root.parent.name}")
    try:
        await tools.ask(worker, b"leave 20 " + bytes(file))
        await worker.unload()
        assert 20 * MIB <= worker.left_bytes < 24 * MIB
    finally:
        os.unlink(file)
    tidy = await stage.load("tidy")
    assert await tidy.unload() > 0
    assert tidy.left_bytes < MIB


def test_groups_of_dead_instances_are_removed(groups: Path) -> None:
    """One whose process lives is left alone."""
    dead = subprocess.Popen(["true"])
    dead.wait()
    stale, alive = groups.parent / f"modelplex-{dead.pid}", groups.parent / "modelplex-1"
    (stale / "w7").mkdir(parents=True)
    alive.mkdir()
    try:
        assert cgroups.open_instance(256 * MIB) == groups
        assert not stale.exists()
        assert alive.exists()
    finally:
        alive.rmdir()


def test_without_a_group_there_are_no_numbers(tmp_path: Path) -> None:
    """One that is gone kills nobody and holds nothing; to remove it again is no error."""
    gone = Cgroup(tmp_path / "gone")
    gone.remove()
    assert (gone.kills(), gone.held_bytes()) == (0, 0)
