"""How much a model will take, learned from what earlier ones took."""

from __future__ import annotations

SLOPE_MIN = 1.0  # what is unpacked is at least read; less comes from noise between small models
SLOPE_MAX = 4.0  # more comes from noise too, and would ask for all memory for one big artifact


class Footprints:
    """The usual artifact, and a straight line through all loads: bytes on disk, bytes in memory.

    The line has an offset because small models all take about what their process takes, however
    small their artifact is: a plain ratio would then be absurd for the first large one.
    """

    def __init__(self) -> None:
        self.count = 0
        self.fetches = 0
        self.fetched_bytes = 0
        self.disk_mean = 0.0
        self.memory_mean = 0.0
        self._disk_spread = 0.0  # sums of squares and products around the means (Welford)
        self._joint_spread = 0.0

    def fetched(self, disk_bytes: int) -> None:
        """Learn from one artifact that has come to the disk."""
        self.fetches += 1
        self.fetched_bytes += disk_bytes

    @property
    def usual_disk_bytes(self) -> float | None:
        """What artifacts took so far, on average; None when nothing was ever fetched."""
        return self.fetched_bytes / self.fetches if self.fetches else None

    def loaded(self, disk_bytes: int, memory_bytes: int) -> None:
        """Learn from one load."""
        self.count += 1
        off_disk = disk_bytes - self.disk_mean
        self.disk_mean += off_disk / self.count
        self.memory_mean += (memory_bytes - self.memory_mean) / self.count
        self._disk_spread += off_disk * (disk_bytes - self.disk_mean)
        self._joint_spread += off_disk * (memory_bytes - self.memory_mean)

    @property
    def slope(self) -> float:
        """Bytes of memory that a further byte on disk costs."""
        if self._disk_spread <= 0:
            return SLOPE_MIN
        return min(max(self._joint_spread / self._disk_spread, SLOPE_MIN), SLOPE_MAX)

    def memory_guess(self, disk_bytes: int) -> int | None:
        """What a model of this size should take; None when nothing was ever loaded."""
        if not self.count:
            return None
        guess = self.memory_mean + self.slope * (disk_bytes - self.disk_mean)
        return max(int(guess), disk_bytes)
