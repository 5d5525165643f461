"""Where the CPU time of processes goes, sampled twice while they are under load.

`perf` samples what runs on the processor, the kernel included, and cannot name Python functions;
py-spy can, but it stops the process to look, and takes waiting for work. So perf divides the time
between the kernel, uvloop, httptools, hashing and the interpreter, and py-spy the interpreter's
share between our modules (`parts.py`).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.path import parts
from benchmarks.path.costs import Roles

PERF_HZ = 1999
PYSPY_HZ = 300  # each look stops the process for about a millisecond
_SLACK_S = 2  # for the samplers to start and to write
_LIMIT_S = 60


class Profile(NamedTuple):
    """Part -> share of a process's CPU time, and how many samples divided its Python."""

    shares: dict[str, float]
    samples: int


def missing() -> str:
    """What is not installed of what this needs, and how to get it; empty if nothing."""
    if shutil.which("perf") is None:
        return "perf is missing (apt-get install linux-perf)"
    if not _pyspy().exists():
        return "py-spy is missing (.venv/bin/pip install -r requirements/bench.txt)"
    return ""


def sampled(roles: Roles, seconds: int, load: Callable[[int], object]) -> dict[str, Profile]:
    """By role, of the first process of each, under `load`."""
    pids = {role: each[0] for role, each in roles.items()}
    with tempfile.TemporaryDirectory(prefix="modelplex-bench-") as scratch:
        folder = Path(scratch)
        under = threading.Thread(target=load, args=(2 * seconds + _SLACK_S,))
        under.start()
        try:
            _all([_perf(pid, seconds, folder) for pid in pids.values()])
            _all([_spy(pid, seconds, folder) for pid in pids.values()])
        finally:
            under.join()
        return {role: _profile(pid, folder) for role, pid in pids.items()}


def _perf(pid: int, seconds: int, folder: Path) -> list[str]:
    record = ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(PERF_HZ), "-g", "-p", str(pid)]
    return [*record, "-o", str(folder / f"{pid}.perf"), "--", "sleep", str(seconds)]


def _spy(pid: int, seconds: int, folder: Path) -> list[str]:
    record = [str(_pyspy()), "record", "-p", str(pid), "--native", "--function", "--full-filenames"]
    record += ["-r", str(PYSPY_HZ), "-d", str(seconds), "-f", "raw"]
    return [*record, "-o", str(folder / f"{pid}.raw")]


def _all(commands: list[list[str]]) -> None:
    """Runs them at the same time."""
    null = subprocess.DEVNULL
    running = [subprocess.Popen(argv, stdout=null, stderr=null) for argv in commands]
    for each in running:
        each.wait(_LIMIT_S)


def _profile(pid: int, folder: Path) -> Profile:
    script = ["perf", "script", "-i", str(folder / f"{pid}.perf"), "-F", "ip,sym,dso"]
    seen = subprocess.run(
        script, check=False, capture_output=True, text=True, timeout=_LIMIT_S
    ).stdout
    raw = folder / f"{pid}.raw"
    python = parts.of_python(raw.read_text() if raw.exists() else "")
    return Profile(parts.shares(parts.of_processor(seen), python), python.total())


def _pyspy() -> Path:
    return Path(sys.executable).with_name("py-spy")
