"""A supervisor without a platform, as a process: `python driver.py DATA [STOP_TIMEOUT_S]`.

Its guard is less patient than a platform's: 1 s instead of 5.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from modelplex import logs
from modelplex.settings import Settings
from modelplex.supervisor import folder, guard
from modelplex.supervisor.app import supervise
from modelplex.supervisor.processes import Processes


async def begin(_processes: Processes, _stop: asyncio.Event) -> None:
    """Nothing runs but what the tests ask for."""
    print("ready", flush=True)


def main(data: Path, stop_timeout_s: float) -> None:
    """Supervise `data` until a signal."""
    settings = Settings(
        data=data,
        stop_timeout_s=stop_timeout_s,
        restart_delay_max_s=0.5,
        log_file_bytes_max=1000,
    )
    logs.configure(settings)
    folder.prepare(data)
    guard.GRACE_S = 1.0
    lock = folder.lock(settings)
    asyncio.run(supervise(settings, lock, frozenset({"own"}), begin))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
