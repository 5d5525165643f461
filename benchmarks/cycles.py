"""What a thousand loads and unloads leave behind in the model server: nothing, it is to be hoped.

Over HTTP, each model loaded, asked once and unloaded, every tenth with two workers. The first fifty
are not counted: the server finds its size.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from benchmarks.model_server import HANDLERS, ROOT, Side, running, tree
from tests.support.models import make_archive

CYCLES = (50, 1000, 1000)


def run() -> str:
    """Measure; a Markdown section."""
    rows = [
        "| after | processes | threads | descriptors | files | RSS MB |",
        "|--:|--:|--:|--:|--:|--:|",
    ]
    with tempfile.TemporaryDirectory(prefix="modelplex-bench-") as scratch:
        store = Path(scratch) / "store"
        store.mkdir()
        (store / "echo.tar.gz").write_bytes(make_archive({"service.py": HANDLERS["echo"]}))
        extra = "default_service_handler=service.py:handle\n"
        binary = ROOT / ".venv/bin/multi-model-server"
        with running("modelplex", binary, store, extra) as side:
            done = 0
            for count in CYCLES:
                for number in range(count):
                    _cycle(side, workers=2 if number % 10 == 0 else 1)
                done += count
                time.sleep(1)  # the last worker's burial
                rows.append(f"| {done:,} | {_held(side, Path(scratch))} |")
    return "\n".join(["## Load and unload", "", *rows, ""])


def _cycle(side: Side, workers: int) -> None:
    query = f"/models?url=echo.tar.gz&model_name=m&initial_workers={workers}&synchronous=true"
    for method, path, body in (
        ("POST", query, b""),
        ("POST", "/models/m/invoke", b"x"),
        ("DELETE", "/models/m", b""),
    ):
        status, answer = side.call(method, path, body)
        assert status == 200, (method, path, answer)


def _held(side: Side, scratch: Path) -> str:
    pid = side.process.pid
    threads = side.counts()[1]
    descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    files = sum("logs" not in path.parts for path in scratch.rglob("*"))
    status = Path(f"/proc/{pid}/status").read_text()
    rss = int(status.partition("VmRSS:")[2].split()[0]) / 1024
    return f"{len(tree(pid))} | {threads} | {descriptors} | {files} | {rss:.1f}"
