"""The guard: a process that outlives the supervisor, to kill what a dead one left running.

    python -I -S guard.py DESCRIPTOR GRACE_S

The parent-death signal ends well-behaved processes. This one is for the others. The supervisor
writes a line `+PID` for each process group it starts and `-PID` for each that is gone. The end of
that file means that the supervisor is dead; what still runs GRACE_S later gets SIGKILL. The guard
also holds the data folder's lock until then, so that the next `up` does not meet the old processes.
"""

from __future__ import annotations

import contextlib
import glob
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator

GRACE_S = 5.0  # between the supervisor's death, which sends SIGTERM, and the guard's SIGKILL


class Guard:
    """The supervisor's side: tells a guard which process groups to end should this process die."""

    def __init__(self, lock: int) -> None:
        """`lock` is a descriptor that the guard holds open as long as it lives."""
        self._lock = lock
        self._pipe: int | None = None
        self.pid: int | None = None

    def start(self, pids: Iterable[int]) -> None:
        """Start the process, or another one after its death, for what runs already."""
        self.close()
        read_end, self._pipe = os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(read_end), str(GRACE_S)],
            pass_fds=[read_end, self._lock],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        process.returncode = 0  # reaped by whoever handles SIGCHLD
        os.close(read_end)
        self.pid = process.pid
        for pid in pids:
            self.add(pid)

    def add(self, pid: int) -> None:
        """End the group of `pid` too."""
        self._tell(f"+{pid}\n")

    def remove(self, pid: int) -> None:
        """It is gone."""
        self._tell(f"-{pid}\n")

    def close(self) -> None:
        """Nothing is left to guard: the process ends."""
        if self._pipe is not None:
            os.close(self._pipe)
        self._pipe = self.pid = None

    def _tell(self, line: str) -> None:
        if self._pipe is not None:
            with contextlib.suppress(BrokenPipeError):  # killed: SIGCHLD is about to replace it
                os.write(self._pipe, line.encode())


def main(descriptor: int, grace_s: float) -> None:
    """The guard's side: follow the supervisor's lines to their end, then make sure of the rest."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    alive: dict[int, int] = {}  # process id -> its pidfd, which cannot come to mean another one
    with open(descriptor, encoding="ascii") as lines:
        for line in lines:
            _follow(line.strip(), alive)
    deadline = time.monotonic() + grace_s
    while alive and time.monotonic() < deadline:
        left_s = max(0.0, deadline - time.monotonic())
        ended = select.select(list(alive.values()), [], [], left_s)[0]
        alive = {pid: pidfd for pid, pidfd in alive.items() if pidfd not in ended}
    for pid in alive:
        below = list(_descendants(pid))  # listed first, for they are nobody's afterwards
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        for each in below:  # in groups of their own: workers, and what handlers have started
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)


def _descendants(pid: int) -> Iterator[int]:
    """Children, their children, and so on."""
    for task in glob.glob(f"/proc/{pid}/task/*/children"):
        with contextlib.suppress(OSError), open(task, encoding="ascii") as file:
            for child in map(int, file.read().split()):
                yield child
                yield from _descendants(child)


def _follow(line: str, alive: dict[int, int]) -> None:
    pid = int(line[1:])
    if (old := alive.pop(pid, None)) is not None:
        os.close(old)
    if line[0] == "+":
        with contextlib.suppress(ProcessLookupError):
            alive[pid] = os.pidfd_open(pid)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
