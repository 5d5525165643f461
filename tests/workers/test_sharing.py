"""Large bodies between host and worker, whatever a worker does to what they share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelplex.runtime.frames import JOIN_BYTES_MAX
from modelplex.workers import sharing
from modelplex.workers.errors import WorkerDied

HANDLER = """
import fcntl, mmap, os, sys
from modelplex.runtime import arena

KEPT = []
WAYS = {}


def way(function):
    WAYS[function.__name__.encode()] = function
    return function


@way
def unsealed():
    def make():
        descriptor = os.memfd_create("x")
        os.ftruncate(descriptor, arena._BYTES)
        KEPT.append(descriptor)
        return descriptor
    arena.make, arena._check = make, lambda descriptor: None


@way
def none():
    def make():
        raise OSError("out of files")
    arena.make = make


@way
def noted():
    made = arena.make
    def make():
        KEPT.append(os.dup(made()))
        return os.dup(KEPT[0])
    arena.make = make


@way
def shrink():
    try:
        os.ftruncate(KEPT[0], 0)
    except PermissionError:
        return b"refused"


@way
def lie():
    shared = mmap.mmap(KEPT[0], 0)
    shared[:4096] = b"\\xff" * 4096
    arena.Arena.put = lambda self, body: arena._POINTER.pack(arena.RING_BYTES - 1, 1000)


@way
def die():
    os._exit(3)


def handle(data, context):
    if data is None:
        return None
    body = data[0]["body"]
    assert type(body) is bytearray
    if bytes(body) in WAYS:
        return [WAYS[bytes(body)]() or b"done"]
    body += b"!"
    return [body]
"""
LARGE = 300_000


@pytest.fixture
async def worker(make_stage):
    """A worker that obeys its requests."""
    return await (await make_stage(HANDLER)).load()


@pytest.mark.parametrize("size", [0, JOIN_BYTES_MAX, JOIN_BYTES_MAX + 1, LARGE, 6_000_000])
async def test_bodies_of_all_sizes_are_echoed(worker, tools, size):
    """Before the two share memory and after; the handler gets a bytearray of its own."""
    for turn in range(3):
        body = bytes([turn + 1]) * size
        assert (await tools.ask(worker, body)).body == body + b"!"


@pytest.mark.parametrize("wrong", [b"unsealed", b"none"])
async def test_without_a_sound_arena_the_socket_carries_all(worker, tools, wrong):
    """A file that its maker could truncate under the host is not mapped."""
    await tools.ask(worker, wrong)
    for _ in range(3):
        assert (await tools.ask(worker, b"x" * LARGE)).body == b"x" * LARGE + b"!"
    assert worker._channel.arena is None


async def test_what_is_shared_cannot_be_truncated(worker, tools):
    """It would be a SIGBUS for the host."""
    await tools.ask(worker, b"noted")
    await tools.ask(worker, b"x" * LARGE)
    assert (await tools.ask(worker, b"shrink")).body == b"refused"
    assert (await tools.ask(worker, b"y" * LARGE)).body == b"y" * LARGE + b"!"


async def test_a_worker_that_lies_hurts_itself(worker, tools):
    """Its connection is given up; the host goes on."""
    await tools.ask(worker, b"noted")
    await tools.ask(worker, b"x" * LARGE)
    await tools.ask(worker, b"lie")
    with pytest.raises(WorkerDied):
        await tools.ask(worker, b"x" * LARGE)


async def test_the_end_of_a_worker_ends_what_it_shares(make_stage, tools):
    """No descriptor, no mapping, no place among the arenas is left, whenever it dies."""
    stage = await make_stage(HANDLER)
    before = set(os.listdir("/proc/self/fd"))
    for large in (True, False):
        worker = await stage.load(f"m{large}")
        if large:
            await tools.ask(worker, b"x" * LARGE)
        with pytest.raises(WorkerDied):
            await tools.ask(worker, b"die")
        await worker.exited
    assert set(os.listdir("/proc/self/fd")) == before
    assert "memfd:arena" not in Path("/proc/self/maps").read_text()  # noqa: ASYNC240
    assert not sharing._living


async def test_memory_rests(worker, tools, monkeypatch):
    """A worker that has no large bodies any more holds no shared memory, and gets it again."""
    monkeypatch.setattr(sharing, "_REST_S", 0.01)
    for _ in range(2):
        await tools.ask(worker, b"x" * LARGE)
        await tools.ask(worker, b"x" * LARGE)
        await tools.eventually(lambda: _arena_kb(worker.pid) == 0)


def _arena_kb(pid: int) -> int:
    """What of the arena's rings is in memory."""
    text = Path(f"/proc/{pid}/smaps").read_text().partition("memfd:arena")[2]
    return int(text.partition("Rss:")[2].split()[0]) - 4
