"""One server process from its arguments to its exit status, also as process 1 of a container."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from modelplex.server.config import ConfigError
from modelplex.server.start.resolve import Arguments, resolve

ORPHANS_INTERVAL_S = 10.0  # a child that is dead for longer than this has no owner here


def run(arguments: Callable[[], Arguments]) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit status; 1 with a line on stderr."""
    # Process 1 never gets a signal without a handler; the server puts its own in their place.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    try:
        config = resolve(arguments())
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    from modelplex.server import app  # noqa: PLC0415  bad values are told before uvloop is there

    Orphans().watch()
    return app.run(config)


def _leave(_number: int, _frame: object) -> NoReturn:
    raise SystemExit(0)


class Orphans:
    """Buries what handlers leave behind: their children become this process's, and nobody else
    waits for them. Whoever has children of their own waits for them at once, so what stays dead
    from one look to the next is an orphan."""

    def __init__(self) -> None:
        self._dead: set[int] = set()

    def watch(self) -> None:
        """Looks again and again, in a thread that ends with the process."""
        threading.Thread(target=self._watch, name="orphans", daemon=True).start()

    def bury(self) -> None:
        """One look."""
        dead = {pid for pid in _children() if _is_dead(pid)}
        for pid in dead & self._dead:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        self._dead = dead - self._dead

    def _watch(self) -> None:
        pause = threading.Event()
        while not pause.wait(ORPHANS_INTERVAL_S):
            self.bury()


def _children() -> set[int]:
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has just ended
            found.update(map(int, (task / "children").read_text().split()))
    return found


def _is_dead(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state == "Z"
