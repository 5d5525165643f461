"""What a stopped platform has left behind."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.support.platform import Platform
from tests.support.processes import processes_of

_CGROUPS = Path("/sys/fs/cgroup")
_BENCHMARKS = tuple(f"modelplex-{name}-" for name in ("bench", "bodies", "cold", "crowd", "soak"))


class Leftovers:
    """Knows what there was before, so that others' things are not taken for the platform's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._temporary = _temporary()
        self._pids: set[int] = set()

    def expect(self, platform: Platform) -> None:
        """To be called while it still runs."""
        self._pids = set(processes_of(platform.data))

    def told(self) -> list[str]:
        """A line for each kind of thing, after it was stopped."""
        data = self._folder / "data"
        found = {
            "processes": [f"{pid} {argv}" for pid, argv in processes_of(data).items()],
            "sockets": [str(path) for path in (data / "run").rglob("*") if path.is_socket()],
            "memory cgroups": self._cgroups(),
            "temporary files": sorted(_temporary() - self._temporary),
            "half-made files": [str(path) for path in data.rglob("*.part*")],
        }
        lines = ["| left after the stop | how many | |", "|---|--:|---|"]
        return lines + [f"| {k} | {len(v)} | {' '.join(v)[:200]} |" for k, v in found.items()]

    def _cgroups(self) -> list[str]:
        """Those named after one of its processes."""
        groups = _CGROUPS.rglob("modelplex-*")
        return [str(each) for each in groups if int(each.name.rpartition("-")[2]) in self._pids]


def _temporary() -> set[str]:
    """What processes of modelplex make in the machine's folder of temporary files; the folders of
    benchmarks, which may run beside this one, have a word for their name where those have none."""
    names = (path.name for path in Path(tempfile.gettempdir()).glob("modelplex*"))
    return {name for name in names if not name.startswith(_BENCHMARKS)}
