"""`make bench`: run the benchmarks and write one results file under benchmarks/results/.

`python -m benchmarks model_server` runs one of them.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import cold, cycles, model_server, warm

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("uvloop", "httptools", "obstore", "boto3")


def machine() -> str:
    """What this was measured on, in a line."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return (
        f"{os.cpu_count()} cores, {memory_gib:.0f} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}, {versions}"
    )


def main() -> None:
    """Measure, print, and keep what was printed."""
    now = datetime.now(UTC)
    runs = {
        "model_server": model_server.run,
        "cycles": cycles.run,
        "warm": warm.run,
        "cold": cold.run,
    }
    wanted = sys.argv[1:] or list(runs)
    parts = [f"# {now:%Y-%m-%d %H:%M} UTC\n\n{machine()}\n", *(runs[name]() for name in wanted)]
    text = "\n".join(parts)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{now:%Y-%m-%d-%H%M}.md"
    path.write_text(text)
    sys.stdout.write(f"{text}\nwritten to {path.relative_to(Path.cwd())}\n")


if __name__ == "__main__":
    main()
