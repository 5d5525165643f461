"""Where processes are born: forks them from a zygote or template, and knows all that live."""

from __future__ import annotations

import asyncio
import functools
import os
import socket
from collections.abc import Callable
from typing import TypeVar

from modelplex.workers.forker import Forker
from modelplex.workers.limits import PoolLimits
from modelplex.workers.loaded import Loaded
from modelplex.workers.output import Output
from modelplex.workers.process import bury_orphans

_SOCKET_BYTES = 1024 * 1024  # in flight to or from a worker: fewer switches with large bodies

Kind = TypeVar("Kind", bound=Loaded)


class Nursery:
    """The workers and templates of one pool. `on_output(model, line)` gets what they print."""

    def __init__(self, on_output: Callable[[str, str], None], limits: PoolLimits) -> None:
        self.living: set[Loaded] = set()
        self._on_output = on_output
        self._limits = limits

    async def fork(self, kind: type[Kind], name: str, parent: Forker) -> tuple[Kind, socket.socket]:
        """A new process of that kind, and the connection to it.

        Raises ForkerGone, OutOfMemory, LoadFailed.
        """
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BYTES)
        read, write = os.pipe()
        try:
            body_bytes_max, cgroup = self._limits.body_bytes_max, self._limits.cgroup
            pid = await parent.fork(theirs.fileno(), write, body_bytes_max, cgroup)
        except BaseException:
            ours.close()
            os.close(read)
            raise
        finally:
            theirs.close()
            os.close(write)
        output = Output(read, functools.partial(self._on_output, name), self._limits)
        born = kind(name, pid, parent, output, self._limits)
        self.living.add(born)
        born.exited.add_done_callback(lambda _: self._gone(born))
        return born, ours

    async def kill_all(self, reason: str) -> None:
        """Ends all of them."""
        await asyncio.gather(*(process.kill(reason) for process in list(self.living)))

    def _gone(self, process: Loaded) -> None:
        self.living.discard(process)
        bury_orphans(f"MODELPLEX_WORKER={process.pid}", {other.pid for other in self.living})
        process.bury()
