"""How much memory this process may allocate, and how much it holds.

RLIMIT_DATA counts private writable memory whether touched or not (the kernel's VmData), so it is
stricter than a budget in private bytes. Beyond it allocations fail: MemoryError in Python. Pages
shared with the zygote do not count against a model, for they are in VmData already when the limit
is taken from it.
"""

from __future__ import annotations

import resource

_PAGE_BYTES = resource.getpagesize()


def allocated_bytes() -> int:
    """What RLIMIT_DATA counts."""
    return _statm(5)


def anonymous_bytes() -> int:
    """What is in memory and not from files."""
    return _statm(1) - _statm(2)


def limit_load(limit_bytes: int, slack_bytes: int) -> None:
    """Lets the process allocate `limit_bytes` more than it has now, until `lift`.

    The slack comes on top: for thread stacks and what allocators hold ready.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = allocated_bytes() + slack_bytes + limit_bytes
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def limit_life(later_bytes: int, slack_bytes: int) -> None:
    """Sets what the process may allocate beyond what it has now, for good."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    later = allocated_bytes() + slack_bytes + later_bytes
    if hard == resource.RLIM_INFINITY or later < hard:
        soft = later if soft == resource.RLIM_INFINITY else min(soft, later)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, later))


def lift() -> None:
    """From the limit for loading to the one for life."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def _statm(field: int) -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[field]) * _PAGE_BYTES
