"""What a container has in memory, page cache left out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_FILES = ("inactive_file", "active_file")  # the page cache; shared memory is not among it
_MOUNTS = (("memory", Path("/sys/fs/cgroup/memory")), ("", Path("/sys/fs/cgroup")))  # versions 1, 2


def used_bytes(stats: Mapping[str, Any]) -> int:
    """From the engine's statistics; 0 if it has none. Podman's do not tell what is page cache."""
    memory = stats.get("memory_stats") or {}
    details = memory.get("stats") or {}
    cache = sum(int(details.get(f"total_{name}", details.get(name, 0))) for name in _FILES)
    return max(0, int(memory.get("usage") or 0) - cache)


def cgroup(pid: int, container: str, proc: Path = Path("/proc")) -> Path | None:
    """The memory cgroup of a container by its first process, which the engine has numbered.

    None where the kernel's files cannot be read here, or where that number means another process,
    as it does when the engine lives in other namespaces: a container's cgroup bears its id.
    """
    try:
        lines = (proc / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return None
    paths = {names: path for _, names, path in (line.split(":", 2) for line in lines)}
    for names, mount in _MOUNTS:
        path = next((p for known, p in paths.items() if names in known.split(",")), "")
        folder = mount / path.lstrip("/")
        if container in path and (folder / "memory.stat").is_file():
            return folder
    return None
