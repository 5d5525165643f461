"""The last one to leave: kills what a dead supervisor's processes left running.

    python -I -S guard_main.py DESCRIPTOR GRACE_S

The parent-death signal ends well-behaved processes. This one is for the others. The supervisor
writes a line `+PID` for each process group it starts and `-PID` for each that is gone. The end of
that file means that the supervisor is dead; what still runs GRACE_S later gets SIGKILL. The guard
also holds the data folder's lock until then, so that the next `up` does not meet the old processes.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time


def main(descriptor: int, grace_s: float) -> None:
    """Follow the supervisor's lines to their end, then make sure of the rest."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    guarded: dict[int, int] = {}  # process id -> its pidfd, which cannot come to mean another one
    with open(descriptor, encoding="ascii") as lines:
        for line in lines:
            _follow(line.strip(), guarded)
    deadline = time.monotonic() + grace_s
    alive = guarded
    while alive and time.monotonic() < deadline:
        select.select(list(alive.values()), [], [], max(0.0, deadline - time.monotonic()))
        alive = {pid: pidfd for pid, pidfd in alive.items() if not _ended(pidfd)}
    for pid in alive:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def _follow(line: str, guarded: dict[int, int]) -> None:
    pid = int(line[1:])
    if (old := guarded.pop(pid, None)) is not None:
        os.close(old)
    if line[0] == "+":
        with contextlib.suppress(ProcessLookupError):
            guarded[pid] = os.pidfd_open(pid)


def _ended(pidfd: int) -> bool:
    return bool(select.select([pidfd], [], [], 0)[0])


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
