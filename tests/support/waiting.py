"""Waiting inside an event loop, for what other processes do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def eventually(condition: Callable[[], object], limit_s: float = 30.0) -> None:
    """Waits until the condition holds; the test fails when it never does."""
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110  conditions of other processes have no event
            await asyncio.sleep(0.01)
