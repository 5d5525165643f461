"""Memory cgroups: a limit that holds for all that a process and its children take.

RLIMIT_DATA makes allocations fail, which Python can report; what it does not see (shared memory,
files in memory, children of the handler) the kernel counts here, and kills who has too much.

    OWN CGROUP/modelplex-PID/        one per instance: what all its workers may take together
    OWN CGROUP/modelplex-PID/wPID/   one per worker, made by itself (`runtime/forking.py`)

They lie below this process's own cgroup (or, in the second version, beside it), so that whatever
limits that has hold too. Both versions of the interface are spoken; the files differ by name.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

_CLOSE_TRIES, _CLOSE_PAUSE_S = 20, 0.01
_PREFIX = "modelplex-"
_LIMITS = ("memory.max", "memory.limit_in_bytes")  # of version 2 and 1
_EVENTS = ("memory.events", "memory.oom_control")
_KEPT = {"anon", "rss", "shmem"}  # of memory.stat: what no pressure takes away; 2's name, 1's, both


@dataclass(frozen=True, slots=True)
class Cgroup:
    """The group of one process and its descendants, or of an instance."""

    folder: Path

    def limit(self, limit_bytes: int) -> None:
        """Let it take no more than this; 0: as much as there is. Raises OSError."""
        text = str(limit_bytes) if limit_bytes else ("max" if self._is_second else "-1")
        (self.folder / _LIMITS[not self._is_second]).write_text(text)

    def kills(self) -> int:
        """How many of its processes the kernel has killed for lack of memory."""
        return self._numbers(_EVENTS[not self._is_second]).get("oom_kill", 0)

    def held_bytes(self) -> int:
        """What its processes have in memory, or have left there; not what is merely cached."""
        return sum(n for name, n in self._numbers("memory.stat").items() if name in _KEPT)

    def remove(self) -> None:
        """End all that is left in it, and remove it; the kernel may want that tried again."""
        with contextlib.suppress(OSError, ValueError):
            for pid in (self.folder / "cgroup.procs").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    @property
    def _is_second(self) -> bool:
        return (self.folder / _LIMITS[0]).exists()

    def _numbers(self, name: str) -> dict[str, int]:
        """The numbers of one of its files by their names; none when the group is gone."""
        try:
            lines = (self.folder / name).read_text().splitlines()
        except OSError:
            return {}
        return {name: int(text) for name, _, text in (line.partition(" ") for line in lines)}


def open_instance(limit_bytes: int) -> Path | None:
    """Make the group of this instance and remove those of dead ones; None where that cannot be.

    The groups of its workers are to be made in it.
    """
    reason = "no memory cgroup is mounted"
    for parent in _places():
        _sweep(parent)
        folder = parent / f"{_PREFIX}{os.getpid()}"
        try:
            _open(parent, folder, limit_bytes)
        except OSError as error:
            reason = f"{error.strerror}: {error.filename}"
            _remove_tree(folder)
        else:
            log.info("cgroups.used", extra={"folder": str(folder)})
            return folder
    log.info("cgroups.not_used", extra={"reason": reason})
    return None


def close_instance(folder: Path) -> None:
    """Remove an instance's group, and what is left of those of its workers; waits a moment for
    processes that are dying.
    """
    for _ in range(_CLOSE_TRIES):
        _remove_tree(folder)
        if not folder.exists():
            return
        time.sleep(_CLOSE_PAUSE_S)


def _open(parent: Path, folder: Path, limit_bytes: int) -> None:
    second = (parent / "cgroup.controllers").exists()
    if second:
        (parent / "cgroup.subtree_control").write_text("+memory")
    folder.mkdir()
    Cgroup(folder).limit(limit_bytes)
    if second:
        (folder / "cgroup.subtree_control").write_text("+memory")


def _places() -> Iterator[Path]:
    """Where groups could be made: below this process's own, or beside it.

    In version 2 a group with processes in it cannot have groups with limits below it.
    """
    own = dict(line.split(":", 2)[1:] for line in _lines("/proc/self/cgroup"))
    for line in _lines("/proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        root, mount = before.split()[3:5]
        kind, _, options = after.split(" ", 2)
        first = kind == "cgroup" and "memory" in options.split(",")
        if not (first or kind == "cgroup2"):
            continue
        path = next((p for names, p in own.items() if "memory" in names.split(",")), "")
        path = path if first else own.get("", "")
        here = Path(mount, os.path.relpath(path, root)) if path.startswith(root) else Path(mount)
        yield here
        if not first and here != Path(mount):
            yield here.parent


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _sweep(parent: Path) -> None:
    """Remove what dead instances left: a group is theirs while a process of that number lives."""
    for folder in parent.glob(f"{_PREFIX}*"):
        pid = folder.name.removeprefix(_PREFIX)
        if not Path("/proc", pid).exists() or pid == str(os.getpid()):
            _remove_tree(folder)


def _remove_tree(folder: Path) -> None:
    with contextlib.suppress(OSError):
        for below in folder.iterdir():
            if below.is_dir():
                Cgroup(below).remove()
    Cgroup(folder).remove()
