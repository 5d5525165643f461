"""`make bench`: run the benchmarks and write one results file under benchmarks/results/.

`python -m benchmarks model_server` runs one of them. Those of `BY_NAME` run only by name, and may
take options: see there.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import (
    bodies,
    burst,
    cold,
    connections,
    crowd,
    cycles,
    density,
    gateways,
    images,
    model_server,
    mxnet,
    policies,
    soak,
    stress,
    warm,
)
from benchmarks.path import command as path

ALWAYS: dict[str, Callable[[], str]] = {
    "model_server": model_server.run,
    "cycles": cycles.run,
    "warm": warm.run,
    "cold": cold.run,
}
BY_NAME: dict[str, Callable[[Sequence[str]], str]] = {  # with options of their own
    "policies": lambda _: policies.run(),
    "density": density.run,
    "burst": burst.run,
    "crowd": crowd.run,
    "mxnet": mxnet.run,
    "images": images.run,
    "stress": stress.run,
    "path": path.run,
    "bodies": bodies.run,
    "gateways": gateways.run,
    "soak": soak.run,
    "connections": connections.run,
}
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


def _measured(*arguments: str) -> Iterator[str]:
    """The sections of what was asked for; without arguments, of all that need none."""
    if not arguments:
        yield from (measure() for measure in ALWAYS.values())
    elif arguments[0] in ALWAYS:
        yield from (ALWAYS[name]() for name in arguments)
    else:
        yield BY_NAME[arguments[0]](arguments[1:])


def main() -> None:
    """Measure, print, and keep what was printed."""
    now = datetime.now(UTC)
    parts = [f"# {now:%Y-%m-%d %H:%M} UTC\n\n{machine()}\n", *_measured(*sys.argv[1:])]
    text = "\n".join(parts)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{now:%Y-%m-%d-%H%M}.md"
    path.write_text(text)
    sys.stdout.write(f"{text}\nwritten to {path.relative_to(Path.cwd())}\n")


if __name__ == "__main__":
    main()
