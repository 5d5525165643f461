"""Dying with the parent, and leaving no descendant behind."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1
KILL_TIMEOUT_S = 3.0


def bind_to_parent() -> None:
    """Ask the kernel for a SIGTERM when the parent dies. Raises SystemExit if it has already.

    The parent is who started us: whoever asks later than the death gets no signal, so it is
    looked up before and after.
    """
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        raise SystemExit("the parent died while this instance started")


def kill_descendants() -> None:
    """SIGKILL everything below this process until nothing is left, within KILL_TIMEOUT_S.

    A killed process leaves its children to us, since the pool of workers adopts orphans: so it
    takes rounds.
    """
    deadline = time.monotonic() + KILL_TIMEOUT_S
    while (found := list(descendants(os.getpid()))) and time.monotonic() < deadline:
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.01)


def descendants(pid: int) -> Iterator[int]:
    """Children, their children, and so on, as far as /proc shows them; zombies too."""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, task.read_text().split()):
                yield child
                yield from descendants(child)
