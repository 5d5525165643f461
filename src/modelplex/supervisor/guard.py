"""The supervisor's side of the guard: the process that outlives it, for seconds only."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable

from modelplex.supervisor import guard_main

GRACE_S = 5.0  # between the supervisor's death, which sends SIGTERM, and the guard's SIGKILL


class Guard:
    """Tells a guard process which process groups to end should this process die."""

    def __init__(self, lock: int | None) -> None:
        """`lock` is a descriptor that the guard holds open as long as it lives."""
        self._lock = lock
        self._pipe: int | None = None
        self.pid: int | None = None

    def start(self, pids: Iterable[int]) -> None:
        """Start the process, or another one after its death, for what runs already."""
        self.close()
        read_end, self._pipe = os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", guard_main.__file__, str(read_end), str(GRACE_S)],
            pass_fds=[read_end] if self._lock is None else [read_end, self._lock],
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
        if self._pipe is None:
            return
        try:
            os.write(self._pipe, line.encode())
        except BrokenPipeError:  # it was killed: SIGCHLD is about to start another one
            return
