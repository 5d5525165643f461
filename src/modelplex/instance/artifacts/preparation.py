"""Has the image prepare artifacts, for the process that fetches them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from modelplex.workers.errors import LoadFailed, OutOfMemory
from modelplex.workers.pools import Pools

# Adds to the artifact of a model, by its name, in a folder; says what kept it from that, or "".
Prepare = Callable[[str, Path], Awaitable[str]]


def by(pools: Pools, timeout_s: float) -> Prepare:
    """As a worker of the image does it. A preparation may take `timeout_s`."""

    async def prepare(model: str, folder: Path) -> str:
        try:
            await pools.prepare(model, folder, timeout_s)
        except OutOfMemory:
            return "the image ran out of memory while it prepared it."
        except LoadFailed as error:
            return error.message
        return ""

    return prepare
