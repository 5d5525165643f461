"""What the processes of a platform take, by their roles, looked at from outside again and again."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from pathlib import Path

from modelplex.workers.process import pss_bytes, resident_bytes
from tests.support.platform import Platform
from tests.support.processes import processes_of

PERIOD_S = 10.0
MIB = 1024 * 1024
WHAT = ("processes", "PSS MiB", "RSS MiB", "descriptors", "threads")
Sample = dict[str, dict[str, float]]  # by role, then by WHAT
_OURS = " -m modelplex."


class Watch:
    """Takes a sample every PERIOD_S in a thread of its own, until `stop`."""

    def __init__(self, platform: Platform) -> None:
        self.samples: list[Sample] = []
        self.at_s: list[float] = []
        self._platform = platform
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends; what was seen stays."""
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        while not self._done.wait(PERIOD_S):
            self.at_s.append(time.monotonic() - began)
            self.samples.append(sample(self._platform))


def sample(platform: Platform) -> Sample:
    """What every role takes now, the data folder's size as a role of its own."""
    seen: Sample = defaultdict(lambda: dict.fromkeys(WHAT, 0.0))
    for pid, argv in processes_of(platform.data).items():
        try:
            facts = (
                1.0,
                pss_bytes(pid) / MIB,
                resident_bytes(pid) / MIB,
                float(len(list(Path(f"/proc/{pid}/fd").iterdir()))),
                float(len(list(Path(f"/proc/{pid}/task").iterdir()))),
            )
            role = _role(pid, argv)
        except OSError:  # it has just ended
            continue
        for what, value in zip(WHAT, facts, strict=True):
            seen[role][what] += value
    seen["all"] = {what: sum(each[what] for each in seen.values()) for what in WHAT}
    seen["data folder"] = {"size MiB": _size(platform.data) / MIB}
    return dict(seen)


def _role(pid: int, argv: str) -> str:
    comm = Path(f"/proc/{pid}/comm").read_text().strip()
    if comm.startswith("mp:"):
        return "workers"
    for file, role in (("guard.py", "guard"), ("runtime/__main__.py", "zygotes")):
        if file in argv:
            return role
    if _OURS in argv:
        return argv.partition(_OURS)[2].partition(" ")[0]
    return Path(argv.partition(" ")[0]).name if "modelplex up" not in argv else "supervisor"


def _size(folder: Path) -> int:
    """Bytes on the disk of all that lies below."""
    size = 0
    for path in folder.rglob("*"):
        try:
            size += path.lstat().st_blocks * 512
        except OSError:  # it has just gone
            continue
    return size
