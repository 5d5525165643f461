"""How much memory a load may take: what is configured, or what the container or machine has left.

Control groups are read where the kernel has them: version 2 (`memory.max`), version 1
(`memory.limit_in_bytes`), and every group above the process's own, for the least of them counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024
RESERVE_BYTES = 32 * MIB  # left to the server and the kernel when nothing is configured

_ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class _Version:
    """Where one version of control groups keeps what."""

    controller: str  # as /proc/self/cgroup names it
    mount: str
    limit: str
    usage: str
    reclaimable: str  # in memory.stat: file pages that the kernel gives up first

    def groups(self, root: Path) -> Iterator[Path]:
        """The process's own group and those above it, as far as they can be seen from here."""
        mount = root / self.mount
        for line in _read(root / "proc/self/cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            if self.controller in controllers.split(","):
                inner = mount / path.lstrip("/")
                yield from (group for group in (inner, *inner.parents) if _within(group, mount))

    def limit_bytes(self, group: Path) -> int | None:
        """None where there is no limit."""
        text = _read(group / self.limit).strip()
        return int(text) if text.isdigit() else None

    def left_bytes(self, group: Path) -> int | None:
        """None where there is no limit."""
        limit, usage = self.limit_bytes(group), _read(group / self.usage).strip()
        if limit is None or not usage.isdigit():
            return None
        stat = dict(line.split(" ", 1) for line in _read(group / "memory.stat").splitlines())
        return limit - int(usage) + int(stat.get(self.reclaimable, 0))


_VERSIONS = (
    _Version("", "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    _Version(
        "memory",
        "sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)


def room_bytes(limit_bytes: int, held_bytes: int, root: Path = _ROOT) -> int:
    """What the next load may take; 0 when there is nothing left.

    With `limit_bytes` that is what `held_bytes` leaves of it, and never more than there is.
    """
    left = left_bytes(root) - RESERVE_BYTES
    if limit_bytes > 0:
        left = min(left, limit_bytes - held_bytes)
    return max(0, left)


def left_bytes(root: Path = _ROOT) -> int:
    """What can still be allocated before the kernel would kill somebody for it."""
    lefts = (version.left_bytes(group) for version, group in _all_groups(root))
    return max(
        0, min([_machine(root, "MemAvailable"), *(left for left in lefts if left is not None)])
    )


def total_bytes(root: Path = _ROOT) -> int:
    """What all processes of the container, or of the machine, may take."""
    limits = [version.limit_bytes(group) for version, group in _all_groups(root)]
    limits.append(_machine(root, "MemTotal"))
    return min(limit for limit in limits if limit is not None)


def _all_groups(root: Path) -> Iterator[tuple[_Version, Path]]:
    for version in _VERSIONS:
        for group in version.groups(root):
            yield version, group


def _machine(root: Path, name: str) -> int:
    """A line of /proc/meminfo, in bytes."""
    for line in _read(root / "proc/meminfo").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    raise ValueError(f"/proc/meminfo has no line {name}")


def _within(group: Path, mount: Path) -> bool:
    return group == mount or mount in group.parents


def _read(path: Path) -> str:
    """Nothing where there is no such file, or it may not be read."""
    try:
        return path.read_text()
    except OSError:
        return ""
