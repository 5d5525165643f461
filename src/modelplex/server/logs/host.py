"""Figures of the machine: processor, memory, disk, from /proc, as Multi Model Server reports them.

They are the machine's, as there, also inside a container that may use only a part of it.
Source of names, units and arithmetic: mms/metrics/system_metrics.py and psutil.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

GIB = 1024**3
MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Figures:
    """One measurement; sizes in bytes, the processor's use since the measurement before."""

    cpu_percent: float
    memory_used: int
    memory_available: int
    memory_percent: float
    disk_used: int
    disk_available: int
    disk_percent: float

    def metrics(self) -> list[tuple[str, str, float]]:
        """(name, unit, value) of each, in the order of Multi Model Server."""
        return [
            ("CPUUtilization", "Percent", self.cpu_percent),
            ("DiskAvailable", "Gigabytes", self.disk_available / GIB),
            ("DiskUsage", "Gigabytes", self.disk_used / GIB),
            ("DiskUtilization", "Percent", self.disk_percent),
            ("MemoryAvailable", "Megabytes", self.memory_available / MIB),
            ("MemoryUsed", "Megabytes", self.memory_used / MIB),
            ("MemoryUtilization", "Percent", self.memory_percent),
        ]


class Host:
    """Measures the machine."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._times = self._cpu_times()

    def measure(self) -> Figures:
        """The machine now."""
        total, available, used = self._memory()
        disk = os.statvfs("/")
        disk_used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
        disk_available = disk.f_bavail * disk.f_frsize
        return Figures(
            cpu_percent=self._cpu_percent(),
            memory_used=used,
            memory_available=available,
            memory_percent=_percent(total - available, total),
            disk_used=disk_used,
            disk_available=disk_available,
            disk_percent=_percent(disk_used, disk_used + disk_available),
        )

    def _cpu_percent(self) -> float:
        """The share of time since the last call in which a processor was busy."""
        (busy, total), (busy_before, total_before) = self._cpu_times(), self._times
        self._times = busy, total
        return _percent(busy - busy_before, total - total_before)

    def _cpu_times(self) -> tuple[int, int]:
        """Ticks busy, and in all, since the machine started; guests are counted as users."""
        with (self._proc / "stat").open() as file:
            ticks = [int(each) for each in file.readline().split()[1:9]]
        idle = ticks[3] + ticks[4]
        return sum(ticks) - idle, sum(ticks)

    def _memory(self) -> tuple[int, int, int]:
        """Bytes in all, available, and used (neither free nor cached)."""
        sizes = {}
        with (self._proc / "meminfo").open() as file:
            for line in file:
                name, _, rest = line.partition(":")
                sizes[name] = int(rest.split()[0]) * 1024
        cached = sizes["Cached"] + sizes.get("SReclaimable", 0) + sizes["Buffers"]
        total, free = sizes["MemTotal"], sizes["MemFree"]
        return total, sizes.get("MemAvailable", free), max(0, total - free - cached)


def _percent(part: float, whole: float) -> float:
    return round(100 * part / whole, 1) if whole > 0 else 0.0
