"""Requests that wait for the same worker go to it together, for handlers that gain from that.

Nobody waits for a batch to fill: a worker that is free gets its request at once, and while it works
the others gather. So batches grow with the load, and are of one where there is none.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import NamedTuple

from modelplex.workers.errors import NotBegun, WorkerDied
from modelplex.workers.invocations import settle
from modelplex.workers.worker import Answer, Invocation, Worker


class _Waiting(NamedTuple):
    invocation: Invocation
    timeout_s: float
    call: asyncio.Future[Answer]


class Batches:
    """The requests of workers that answer up to `batch_max` at once, `bytes_max` of bodies."""

    def __init__(self, batch_max: int, bytes_max: int) -> None:
        self._batch_max = batch_max
        self._bytes_max = bytes_max
        self._lines: dict[Worker, deque[_Waiting]] = {}  # of workers that have a batch to answer

    async def invoke(self, worker: Worker, invocation: Invocation, timeout_s: float) -> Answer:
        """As `Worker.invoke`: the answer to one request, which may be one of many at the handler.

        Raises WorkerDied, TimedOut, NotBegun.
        """
        call: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        line = self._lines.setdefault(worker, deque())
        line.append(_Waiting(invocation, timeout_s, call))
        if not worker.busy:
            self._submit(worker)
        return await call

    def _submit(self, worker: Worker) -> None:
        """Have the worker answer those that wait now, as far as they fit."""
        line = self._lines[worker]
        batch: list[_Waiting] = []
        room = self._bytes_max
        while line and len(batch) < self._batch_max:
            if line[0].call.done():  # its client has gone
                line.popleft()
                continue
            room -= len(line[0].invocation.body)
            if batch and room < 0:
                break
            batch.append(line.popleft())
        if not batch:
            del self._lines[worker]
            return
        limit_s = max(each.timeout_s for each in batch)
        done = partial(self._answered, worker, batch)
        worker.submit([each.invocation for each in batch], limit_s, done)

    def _answered(
        self, worker: Worker, batch: list[_Waiting], outcome: list[Answer] | WorkerDied
    ) -> None:
        for at, each in enumerate(batch):
            settle(each.call, outcome if isinstance(outcome, WorkerDied) else [outcome[at]])
        if isinstance(outcome, WorkerDied):
            for left in self._lines.pop(worker, ()):
                settle(left.call, NotBegun(str(outcome)))
        else:
            self._submit(worker)
