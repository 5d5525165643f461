"""Work that goes on by itself: the event loop alone would let go of it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Tasks:
    """Those that somebody has begun and that have not ended."""

    def __init__(self) -> None:
        self._open: set[asyncio.Task[Any]] = set()

    def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Have it done, whether anybody waits for it or not."""
        task = asyncio.get_running_loop().create_task(work)
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        return task

    def cancel(self) -> None:
        """Give up all that is open."""
        for task in self._open:
            task.cancel()
