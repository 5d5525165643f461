"""Where processes are born: forks them from a zygote or template, and knows all that live.

A zygote may have one child in advance, a **spare**: a worker that has no model yet. Whoever is
loaded next becomes it and waits for no fork (docs/decisions/0021-a-spare-worker.md).
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from typing import TypeVar

from modelplex.workers.forker import Forker
from modelplex.workers.limits import PoolLimits
from modelplex.workers.loaded import Loaded
from modelplex.workers.output import Output
from modelplex.workers.process import bury_orphans
from modelplex.workers.worker import Worker

_SOCKET_BYTES = 1024 * 1024  # in flight to or from a worker: fewer switches with large bodies

Kind = TypeVar("Kind", bound=Loaded)


class Nursery:
    """The workers and templates of one pool. `on_output(model, line)` gets what they print."""

    def __init__(self, on_output: Callable[[str, str], None], limits: PoolLimits) -> None:
        self.living: set[Loaded] = set()  # with the spares
        self._spares: dict[Forker, tuple[Worker, socket.socket] | None] = {}  # None: on its way
        self._on_output = on_output
        self._limits = limits

    async def fork(self, kind: type[Kind], name: str, parent: Forker) -> tuple[Kind, socket.socket]:
        """A new process of that kind, or the spare, and the connection to it.

        Raises ForkerGone, OutOfMemory, LoadFailed.
        """
        spare = self._spares.get(parent)
        if spare is None or not issubclass(Worker, kind):
            return await self._bear(kind, name, parent)
        del self._spares[parent]
        worker, sock = spare
        if worker.ending or worker.exited.done():
            sock.close()
            return await self._bear(kind, name, parent)
        worker.name, worker.steps["fork"] = name, 0.0
        assert isinstance(worker, kind)
        return worker, sock

    async def provide(self, parent: Forker) -> None:
        """Have a spare of `parent`, if there is none. Raises as `fork`."""
        if parent in self._spares:
            return
        self._spares[parent] = None
        try:
            spare = await self._bear(Worker, "", parent)
        except BaseException:
            self._spares.pop(parent, None)
            raise
        if parent in self._spares:
            self._spares[parent] = spare
        else:
            await _end(spare, "spare of no use")

    async def forget(self, parent: Forker) -> None:
        """End the spare of `parent`, for it will be asked for no more."""
        if spare := self._spares.pop(parent, None):
            await _end(spare, "spare of no use")

    async def _bear(
        self, kind: type[Kind], name: str, parent: Forker
    ) -> tuple[Kind, socket.socket]:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BYTES)
        read, write = os.pipe()
        began = time.perf_counter()
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
        output = Output(read, lambda line: self._on_output(born.name, line), self._limits)
        born = kind(name, pid, parent, output, self._limits)
        born.steps["fork"] = round((time.perf_counter() - began) * 1000, 3)
        self.living.add(born)
        born.exited.add_done_callback(lambda _: self._gone(born))
        return born, ours

    async def kill_all(self, reason: str) -> None:
        """Ends all of them."""
        await asyncio.gather(*map(self.forget, list(self._spares)))
        await asyncio.gather(*(process.kill(reason) for process in list(self.living)))

    def _gone(self, process: Loaded) -> None:
        self.living.discard(process)
        bury_orphans(f"MODELPLEX_WORKER={process.pid}", {other.pid for other in self.living})
        process.bury()


async def _end(spare: tuple[Worker, socket.socket], reason: str) -> None:
    worker, sock = spare
    if worker.exited.done():
        sock.close()
        return
    worker.attach(sock)  # or its end would be waited for on a connection that nobody reads
    await worker.kill(reason)
