"""Large bodies between a host and its worker: through the arena, and through the socket alone.

One pool, one echo model, an event loop as in an instance; processor time of both processes for a
request, sides taken in turn in one run. `floor`: what making a `bytearray` of the body costs, which
the host does as HTTP would, and is in both sides.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvloop

from modelplex.workers import sharing
from modelplex.workers.errors import WorkerDied
from modelplex.workers.image import ImageSpec
from modelplex.workers.limits import MIB, PoolLimits
from modelplex.workers.model import ModelSpec
from modelplex.workers.pool import Pool
from modelplex.workers.worker import Answer, Invocation, Worker

HANDLER = "def handle(data, context):\n    return data and [data[0]['body']]\n"
SIZES = (1024, 16 * 1024 + 1, 64 * 1024, 256 * 1024, MIB, 6 * MIB)
BYTES = 48 * MIB  # of bodies in one measurement
COUNT_MAX = 2000
ROUNDS = 5


def run(_: Sequence[str] = ()) -> str:
    """Measure; a Markdown section."""
    rows = uvloop.run(_measure())
    head = "| bytes | ahead | socket: host + worker µs | arena: host + worker µs | ratio | floor |"
    lines = ["## Bodies between host and worker", "", head, "|--:|--:|--:|--:|--:|--:|", *rows]
    return "\n".join(lines) + "\n"


async def _measure() -> list[str]:
    with tempfile.TemporaryDirectory(prefix="modelplex-bodies-") as folder:
        image, model = _folders(Path(folder))
        spec = ImageSpec(image, Path(sys.executable), "echo.py:handle")
        limits = PoolLimits(body_bytes_max=8 * MIB, response_bytes_max=8 * MIB)
        pool = Pool(spec, {}, lambda *_: None, limits)
        await pool.start()
        try:
            with_arena = await pool.load(ModelSpec("a", model, limit_bytes=512 * MIB), 60.0)
            without = await pool.load(ModelSpec("b", model, limit_bytes=512 * MIB), 60.0)
            with _no_arenas():
                await _ask(without, MIB, 1, 1)
            await _ask(with_arena, MIB, 4, 1)
            cases = [(size, ahead) for size in SIZES for ahead in (1, 4)]
            return [await _row(without, with_arena, *case) for case in cases]
        finally:
            await pool.close()


def _folders(root: Path) -> tuple[Path, Path]:
    """Of the image and of the model."""
    image, model = root / "image", root / "model"
    image.mkdir()
    model.mkdir()
    (image / "echo.py").write_text(HANDLER)
    return image, model


@contextmanager
def _no_arenas() -> Iterator[None]:
    """A channel that asks now gets none, and stays without."""
    before, sharing.ARENAS_MAX = sharing.ARENAS_MAX, 0
    try:
        yield
    finally:
        sharing.ARENAS_MAX = before


async def _row(without: Worker, with_arena: Worker, size: int, ahead: int) -> str:
    count = min(COUNT_MAX, max(8, BYTES // size))
    seen: dict[Worker, list[tuple[float, float]]] = {without: [], with_arena: []}
    for _ in range(ROUNDS):
        for worker, times in seen.items():
            host, process = _cpu_us("self"), _cpu_us(worker.pid)
            with _no_arenas():
                await _ask(worker, size, count, ahead)
            spent = _cpu_us("self") - host, _cpu_us(worker.pid) - process
            times.append((spent[0] / count, spent[1] / count))
    cells = [tuple(map(statistics.median, zip(*times, strict=True))) for times in seen.values()]
    told = " | ".join(f"{host:.0f} + {process:.0f}" for host, process in cells)
    ratio = sum(cells[0]) / sum(cells[1])
    return f"| {size:,} | {ahead} | {told} | {ratio:.2f} | {_floor_us(size, count):.0f} |"


async def _ask(worker: Worker, size: int, count: int, ahead: int) -> None:
    """Sends so many bodies, `ahead` of them at once; each must come back whole."""
    body = b"x" * size
    end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    sent = answered = 0

    def submit() -> None:
        nonlocal sent
        sent += 1
        worker.submit([Invocation([], bytearray(body))], 60.0, done)

    def done(outcome: list[Answer] | WorkerDied) -> None:
        nonlocal answered
        assert isinstance(outcome, list)
        assert outcome[0].body == body
        answered += 1
        if sent < count:
            submit()
        elif answered == count:
            end.set_result(None)

    for _ in range(min(ahead, count)):
        submit()
    await end


def _floor_us(size: int, count: int) -> float:
    body = b"x" * size
    began = time.process_time()
    for _ in range(count):
        assert bytearray(body) == body
    return (time.process_time() - began) / count * 1e6


def _cpu_us(pid: int | str) -> float:
    """What a process of one thread has spent."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1000
