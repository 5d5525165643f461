"""What a request costs the processes that answer it: CPU time, context switches, system calls,
allocations.

Time and switches are the kernel's own counts of every thread in /proc. System calls and
allocations are counted by `perf stat` in a phase of their own, since counting slows what it counts:
calls at the tracepoint `raw_syscalls:sys_enter`; allocations at a probe on CPython's
`_PyObject_Malloc`, through which go all `PyObject_Malloc` and `PyMem_Malloc`, those of uvloop and
httptools too. What an object's free list gives again, what grows in place and what C libraries take
from `malloc` is not in it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

CALLS = "raw_syscalls:sys_enter"
_ALLOCATION = f"modelplex_bench_{os.getpid()}:allocation"  # in the kernel's list of probes
Roles = Mapping[str, tuple[int, ...]]  # what a process does -> the processes that do it


class Spent(NamedTuple):
    """CPU nanoseconds and context switches since a thread began."""

    cpu_ns: int
    switches: int


class Cost(NamedTuple):
    """Per answer, of all the processes of one role."""

    cpu_us: float
    switches: float


def spent(roles: Roles) -> dict[str, dict[int, Spent]]:
    """Of every role's threads."""
    return {role: _threads(pids) for role, pids in roles.items()}


def costs(
    before: Mapping[str, dict[int, Spent]], after: Mapping[str, dict[int, Spent]], answers: int
) -> dict[str, Cost]:
    """Per answer; a thread that ended in between is left out, one that began counts whole."""
    found = {}
    for role, threads in after.items():
        was = before[role]
        zero = Spent(0, 0)
        cpu_ns = sum(now.cpu_ns - was.get(tid, zero).cpu_ns for tid, now in threads.items())
        switches = sum(now.switches - was.get(tid, zero).switches for tid, now in threads.items())
        found[role] = Cost(cpu_ns / 1000 / answers, switches / answers)
    return found


def _threads(pids: tuple[int, ...]) -> dict[int, Spent]:
    found = {}
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").glob("*"):
            with contextlib.suppress(OSError):  # it ended
                cpu_ns = int((thread / "schedstat").read_text().split()[0])
                found[int(thread.name)] = Spent(cpu_ns, _switches(thread))
    return found


def _switches(thread: Path) -> int:
    lines = (thread / "status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches:" in line)


@contextmanager
def probe() -> Iterator[str | None]:
    """An event that counts this Python's allocations; None where the kernel or perf cannot."""
    library = _library()
    adding = ["perf", "probe", "-q", "-x", str(library), f"--add={_ALLOCATION}=_PyObject_Malloc"]
    if subprocess.run(adding, check=False, capture_output=True).returncode != 0:
        yield None
        return
    try:
        yield _ALLOCATION
    finally:
        removing = ["perf", "probe", "-q", f"--del={_ALLOCATION}"]
        subprocess.run(removing, check=False, capture_output=True)


def _library() -> Path:
    """The file that holds the interpreter: a shared library, or the program itself."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.split(maxsplit=5)[-1]
        if "/libpython" in path and ".so" in path:
            return Path(path)
    return Path(sys.executable).resolve()


def counted(roles: Roles, event: str, load: Callable[[], int]) -> dict[str, dict[str, float]]:
    """Role -> event -> how often per answer, while `load` runs, which tells how many it got."""
    watchers = {role: _watch(pids, event) for role, pids in roles.items()}
    try:
        answers = load()
    finally:
        texts = {role: _report(watcher) for role, watcher in watchers.items()}
    return {
        role: {name: count / answers for name, count in counts(text).items()}
        for role, text in texts.items()
    }


def _watch(pids: tuple[int, ...], event: str) -> subprocess.Popen[str]:
    of = ",".join(map(str, pids))
    argv = ["perf", "stat", "-x", ";", "--no-inherit", "-e", event, "-p", of, "--", "cat"]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _report(watcher: subprocess.Popen[str]) -> str:
    """Closing the input of `cat` ends it, and with it the counting."""
    return watcher.communicate("", timeout=30)[1]


def counts(report: str) -> dict[str, int]:
    """Event -> count, from what `perf stat -x ';'` writes; an event not counted is left out."""
    found = {}
    for line in report.splitlines():
        fields = line.split(";")
        if len(fields) > 2 and fields[0].isdigit():
            found[fields[2]] = int(fields[0])
    return found
