"""A template: a process that has loaded a model and never predicts, so that workers forked from it
share its weights and start in milliseconds.

A process that has computed with several threads cannot be forked soundly. So a template is
`forkable` only if loading has left it with one thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from modelplex.runtime import frames
from modelplex.workers.errors import LoadFailed, WorkerDied
from modelplex.workers.forker import Forker, ForkerGone
from modelplex.workers.limits import PoolLimits
from modelplex.workers.loaded import Loaded
from modelplex.workers.model import ModelSpec
from modelplex.workers.output import Output
from modelplex.workers.worker import Worker

Birth = Callable[["Template", ModelSpec | None], Awaitable[Worker]]  # of its model, or of a twin


class Template(Loaded):
    """A model that workers are forked from. Made by `Pool.load_template`.

    Its end does not hurt its workers.
    """

    template = True

    def __init__(
        self, name: str, pid: int, parent: Forker, output: Output, limits: PoolLimits
    ) -> None:
        super().__init__(name, pid, parent, output, limits)
        self.threads = 0  # after the load
        self.forker = Forker(self._process, self._channel, limits.fork_timeout_s)
        self.asked_name = False  # the handler did, while it loaded: no twin can be forked
        self.birth: Birth  # how its pool makes a worker of it
        self._own_bytes = 0

    @property
    def forkable(self) -> bool:
        """Whether workers can be forked from it."""
        return self.threads == 1

    async def fork(self, timeout_s: float, twin: ModelSpec | None = None) -> Worker:
        """A worker that has the model already, or its `twin`. Raises OutOfMemory, LoadFailed."""
        try:
            async with asyncio.timeout(timeout_s):
                if not self._own_bytes:
                    await asyncio.to_thread(self.memory_bytes)  # a large one takes a while
                return await self.birth(self, twin)
        except TimeoutError:
            raise LoadFailed(f"no worker was forked within {timeout_s:g} s") from None
        except (ForkerGone, WorkerDied):
            how = self.exited.result() if self.exited.done() else self._process.reason
            raise LoadFailed(f"the template of the model ended: {how}") from None

    def memory_bytes(self) -> int:
        """What the model takes, the weights that its workers share included; 0 when it is gone.

        Measured before the first fork, as from then on its pages are not its own alone; it does
        nothing that would change it.
        """
        if self.exited.done():
            return 0
        if not self._own_bytes:
            self._own_bytes = max(super().memory_bytes(), self._own_bytes)
        return self._own_bytes

    def __repr__(self) -> str:
        state = "gone" if self.exited.done() else f"{self.threads} threads"
        return f"<Template {self.pid} {self.name}: {state}>"

    def _loaded(self, values: dict[str, Any]) -> None:
        self.threads = int(values["threads"])
        self.asked_name = bool(values["asked_name"])

    def _on_frame(self, frame: frames.Frame) -> None:
        if frame.kind in {frames.LOADED, frames.LOAD_FAILED}:
            super()._on_frame(frame)
        else:
            self.forker.take(frame)

    def _died(self, error: WorkerDied) -> None:
        self.forker.lost()
