"""Has the image prepare artifacts, for the threads that fetch them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from modelplex.instance.artifacts.disk import Prepare, Unprepared
from modelplex.workers.errors import LoadFailed, OutOfMemory
from modelplex.workers.pools import Pools


def by(pools: Pools, timeout_s: float) -> Prepare:
    """What `Artifacts` calls, in any thread but the one in which this is called, which runs the
    pools' loop. A preparation may take `timeout_s`."""
    loop = asyncio.get_running_loop()

    def prepare(model: str, folder: Path) -> None:
        work = asyncio.run_coroutine_threadsafe(pools.prepare(model, folder, timeout_s), loop)
        try:
            work.result()
        except OutOfMemory:
            raise Unprepared("the image ran out of memory while it prepared it.") from None
        except LoadFailed as error:
            raise Unprepared(error.message) from None

    return prepare
