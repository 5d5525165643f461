"""Captured output: lines, limits, and the end."""

from __future__ import annotations

import asyncio
import os

import pytest

from modelplex.workers import output
from modelplex.workers.limits import PoolLimits
from modelplex.workers.output import Output


class Pipe:
    """An Output over a pipe that the test writes to."""

    def __init__(self, **limits: int) -> None:
        read, self.write_end = os.pipe()
        self.lines: list[str] = []
        self.output = Output(read, self.lines.append, PoolLimits(**limits))

    async def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.write_end, data[:65536]) :]
            await asyncio.sleep(0.01)

    def end(self) -> list[str]:
        """What was captured, after the writer is gone."""
        os.close(self.write_end)
        self.output.close()
        return self.lines


async def test_lines_are_put_together():
    """However the writes cut them; bad UTF-8 is replaced, and a last line needs no end."""
    pipe = Pipe()
    for part in (b"one\ntw", b"o\r\n", b"\n", b"thr\xffee\nlast"):
        await pipe.write(part)
    assert pipe.end() == ["one", "two", "", "thr�ee", "last"]
    pipe.output.close()


@pytest.mark.parametrize("ending", [b"", b"\n", b"\nnext\n"])
@pytest.mark.parametrize("step", [7, 65536])
async def test_long_lines_are_cut(ending, step):
    """Whether they come at once or bit by bit; the line behind them is whole."""
    pipe = Pipe(log_line_bytes_max=10)
    data = b"0123456789abcdef" + ending
    for at in range(0, len(data), step):
        await pipe.write(data[at : at + step])
    lines = pipe.end()
    assert lines[0] == "0123456789 [cut after 10 bytes]"
    assert lines[1:] == (["next"] if b"next" in ending else [])


async def test_a_flood_is_dropped_and_counted(monkeypatch):
    """No more lines than allowed, then one that says how many are missing."""
    monkeypatch.setattr(output, "_WINDOW_S", 600.0)  # all of it in one, however long it takes
    pipe = Pipe(log_lines_max=5)
    await pipe.write(b"".join(b"line %d\n" % n for n in range(10_000)))
    lines = pipe.end()
    assert lines[:5] == [f"line {n}" for n in range(5)]
    assert lines[5] == "9995 lines dropped (more than 5 in a second)"


async def test_the_log_goes_on_after_a_flood():
    """The next second has its own allowance, and the drop is told without a further line."""
    pipe = Pipe(log_lines_max=2)
    await pipe.write(b"a\nb\nc\nd\n")
    async with asyncio.timeout(30):
        while len(pipe.lines) < 3:  # noqa: ASYNC110  there is no event for it
            await asyncio.sleep(0.01)
    await pipe.write(b"e\n")
    assert pipe.end() == ["a", "b", "2 lines dropped (more than 2 in a second)", "e"]


async def test_a_listener_that_raises_loses_its_line_only():
    """A full disk costs log lines, not the model."""
    pipe = Pipe()

    def refuse(line: str) -> None:
        raise OSError("disk full")

    pipe.output._on_line = refuse
    await pipe.write(b"lost\n")
    pipe.output._on_line = pipe.lines.append
    await pipe.write(b"kept\n")
    assert pipe.end() == ["kept"]
    assert list(pipe.output.tail) == ["lost", "kept"]
