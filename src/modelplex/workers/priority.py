"""Which processes go first when all cores are busy: those that answer, before those that load.

What Linux offers for that depends on who asks, since nice values can be raised by anybody, and
lowered again only by a privileged process. What is to be restored later therefore has

* SCHED_BATCH, always: it does not interrupt others when it wakes up;
* a higher **nice value**, and the same for its **autogroup**, where that can be taken back. Where
  autogroups are on (`sched_autogroup_enabled`) the kernel shares time between sessions first, and
  each worker has one of its own: the nice values of processes in two sessions count for nothing.

These are shares, not orders: what gives way still gets some of each core, however busy the others
are. SCHED_IDLE would leave it next to nothing.
"""

from __future__ import annotations

import contextlib
import logging
import os
from functools import cache
from pathlib import Path

log = logging.getLogger(__name__)

LOADING_NICE = 5  # a third of what a process of nice 0 gets beside it
FETCHING_NICE = 10  # a tenth; it works in several threads, of which each counts
_CAP_SYS_ADMIN, _CAP_SYS_NICE = 1 << 21, 1 << 23  # for autogroups and for nice values


def give_way(pid: int) -> None:
    """Have a process that leads its session go behind others until `restore`, as far as possible.

    One that has ended is left alone.
    """
    _set(pid, os.SCHED_BATCH, LOADING_NICE if _may_restore() else None)


def restore(pid: int) -> None:
    """Have it be like all others again, with all its threads."""
    _set(pid, os.SCHED_OTHER, 0 if _may_restore() else None)


def give_way_for_good() -> None:
    """Have this process, which leads its session, go far behind others for the rest of its life."""
    _set(os.getpid(), os.SCHED_BATCH, FETCHING_NICE)


@cache
def _may_restore() -> bool:
    """Whether nice values can be taken back; what is in force is said once in the log."""
    status = Path("/proc/self/status").read_text()
    held = int(status.partition("CapEff:")[2].split()[0], 16)
    needed = _CAP_SYS_ADMIN | _CAP_SYS_NICE
    may = held & needed == needed and os.getpriority(os.PRIO_PROCESS, 0) == 0
    log.info("loads.give_way", extra={"by": "nice value" if may else "SCHED_BATCH alone"})
    return may


def _set(pid: int, policy: int, nice: int | None) -> None:
    """For a process, its threads and its session; None: leave the nice value as it is."""
    with contextlib.suppress(OSError):  # no autogroups here, or gone
        if nice is not None:
            Path(f"/proc/{pid}/autogroup").write_text(str(nice))
    with contextlib.suppress(OSError):  # gone
        for thread in map(int, os.listdir(f"/proc/{pid}/task")):
            os.sched_setscheduler(thread, policy, os.sched_param(0))
            if nice is not None:
                os.setpriority(os.PRIO_PROCESS, thread, nice)
