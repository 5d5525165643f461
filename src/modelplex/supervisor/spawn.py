"""Starting a process so that it cannot outlive its parent, and what the kernel says of the end."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from modelplex.supervisor.spec import Spec

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True)


def become_subreaper() -> None:
    """Descendants that lose their parent become this process's children from now on."""
    if _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def spawn(spec: Spec, output: int | None) -> int:
    """Start what `spec` says in a session of its own; its process id.

    `output` is a descriptor for stdout and stderr; None: the ones of this process. The kernel sends
    the spec's death signal when this process dies, however it dies. Raises OSError if there is no
    such program or folder.
    """
    process = subprocess.Popen(
        spec.argv,
        env={**os.environ, **spec.env},
        cwd=spec.cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        pass_fds=spec.descriptors,
        preexec_fn=_follow_parent(os.getpid(), spec.death_signal),  # noqa: PLW1509 (one thread only)
    )
    process.returncode = 0  # reaped by whoever handles SIGCHLD; Popen is not to wait for it
    return process.pid


def kill_group(pid: int) -> None:
    """SIGKILL to a process's group; nothing if nobody is in it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def describe_exit(wait_status: int) -> str:
    """`exit code 3` or `killed by SIGKILL`."""
    code = os.waitstatus_to_exitcode(wait_status)
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal has no name
        return f"killed by signal {-code}"


def children() -> list[int]:
    """The process ids of this process's children, adopted ones too."""
    found: list[int] = []
    for path in Path("/proc/self/task").glob("*/children"):
        found += map(int, path.read_text().split())
    return found


def _follow_parent(parent: int, death_signal: int) -> Callable[[], None]:
    def between_fork_and_exec() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return between_fork_and_exec
