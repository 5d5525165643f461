"""Who goes behind others, and is like them again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from modelplex.workers import priority

WITH_A_THREAD = "import threading, time; threading.Thread(target=time.sleep, args=(60,)).start()"
WITH_A_THREAD += "; print(flush=True)"


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process of two threads in a session of its own."""
    argv = [sys.executable, "-c", WITH_A_THREAD]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def seen(pid: int) -> set[tuple[int, int]]:
    """Policy and nice value of each thread."""
    threads = map(int, os.listdir(f"/proc/{pid}/task"))
    return {(os.sched_getscheduler(t), os.getpriority(os.PRIO_PROCESS, t)) for t in threads}


def test_a_process_gives_way_and_is_restored(child: subprocess.Popen[bytes]) -> None:
    """With all its threads; by its nice value only if that can be taken back."""
    before = seen(child.pid)
    priority.give_way(child.pid)
    privileged = os.geteuid() == 0
    ((policy, nice),) = seen(child.pid)
    assert policy == os.SCHED_BATCH
    assert nice in ({priority.LOADING_NICE, 0} if privileged else {0})
    priority.restore(child.pid)
    assert seen(child.pid) == before == {(os.SCHED_OTHER, 0)}


def test_a_process_that_has_ended_is_left_alone(child: subprocess.Popen[bytes]) -> None:
    """It may end at any moment."""
    child.kill()
    child.wait()
    priority.give_way(child.pid)
    priority.restore(child.pid)
