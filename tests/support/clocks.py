"""The event loop's clock in the hand of a test, which then need not wait for what it measures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def hurried_clock() -> Iterator[Callable[[float], None]]:
    """`forward(seconds)`: whatever was to ring in that time rings in the loop's next turns.

    Of asyncio's own loop; uvloop asks nobody for the time.
    """
    loop: Any = asyncio.get_running_loop()
    told, ahead_s = loop.time, 0.0

    def forward(seconds: float) -> None:
        nonlocal ahead_s
        ahead_s += seconds

    loop.time = lambda: told() + ahead_s
    try:
        yield forward
    finally:
        del loop.time
