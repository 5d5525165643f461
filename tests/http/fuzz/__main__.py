"""`python -m tests.http.fuzz --seconds 60 --seed 1`: random requests and answers, for so long.

Requests go to a server the ordinary way and the short way, whole and in pieces, and to h11; answers
go to the client. A finding is printed with its seed, and the exit status is 1. `--seed N --streams
1` does one again. h11 is in requirements/test.txt.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import tempfile
import time
from collections import Counter
from typing import Any

import uvloop

from tests.http.fuzz import answers, differ
from tests.http.fuzz.sides import sides

_FINDINGS_MAX = 10  # printed
_LINGERING_S = 7.0  # longer than a server lets a refused client read its answer
_ANSWERS_EVERY = 4  # streams of requests per stream of answers


class _Errors(logging.Handler):
    """Keeps what is logged as an error: nothing should be."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps it."""
        self.lines.append(logging.Formatter().format(record))

    def loop(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception that nobody caught."""
        self.lines.append(f"{context.get('message')}: {context.get('exception')!r}")


async def _fuzz(seconds: float, seed: int, streams: int) -> int:
    errors, tally, findings = _Errors(), Counter[str](), 0
    logging.getLogger().addHandler(errors)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(errors.loop)
    with tempfile.TemporaryDirectory() as folder:
        async with sides(folder) as both:
            await differ.check(both, seed, Counter())  # whatever is made once is made
            before = await _settled((0, 0))
            ends = time.monotonic() + seconds
            for number in range(streams):
                if time.monotonic() > ends or findings >= _FINDINGS_MAX:
                    break
                wrong = [await differ.check(both, seed + number, tally)]
                if number % _ANSWERS_EVERY == 0:
                    wrong.append(await answers.check(folder, seed + number, tally))
                for text in [*wrong, *errors.lines]:
                    if text:
                        findings += 1
                        print(f"FINDING, seed {seed + number}: {text}", flush=True)
                errors.lines.clear()
            after = await _settled(before)
    if not _within(after, before):
        findings += 1
        print(f"FINDING: tasks and descriptors were {before}, are {after}")
    print(f"{findings} findings. " + ", ".join(f"{n} {what}" for what, n in sorted(tally.items())))
    return findings


async def _settled(expected: tuple[int, int]) -> tuple[int, int]:
    """Tasks and descriptors: once they are as expected, or when what lingers has had its time."""
    ends = time.monotonic() + _LINGERING_S
    while True:
        await asyncio.sleep(0.5)
        found = len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))
        if _within(found, expected) or time.monotonic() > ends:
            return found


def _within(found: tuple[int, int], expected: tuple[int, int]) -> bool:
    return found[0] <= expected[0] and found[1] <= expected[1]


def main() -> None:
    """Options, then the run."""
    parser = argparse.ArgumentParser(prog="python -m tests.http.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="at most this long")
    parser.add_argument("--seed", type=int, default=1, help="of the first stream")
    parser.add_argument("--streams", type=int, default=sys.maxsize, help="at most so many")
    options = parser.parse_args()
    logging.getLogger("modelplex").setLevel(logging.ERROR)
    logging.lastResort = None
    sys.exit(uvloop.run(_fuzz(options.seconds, options.seed, options.streams)) > 0)


if __name__ == "__main__":
    main()
