"""Requests that wait for the same worker go to it together, for handlers that gain from that.

Nobody waits for a batch to fill: a worker that is free gets its request at once, and while it works
the others gather. So batches grow with the load, and are of one where there is none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from modelplex.workers.errors import NotBegun, WorkerDied
from modelplex.workers.worker import Answer, Invocation, Worker

Done = Callable[[Answer | WorkerDied], None]


class Place(NamedTuple):
    """One request's, in the line of its worker."""

    invocation: Invocation
    timeout_s: float
    done: Done


class Batches:
    """The requests of workers that answer up to `batch_max` at once, `bytes_max` of bodies."""

    def __init__(self, batch_max: int, bytes_max: int) -> None:
        self._batch_max = batch_max
        self._bytes_max = bytes_max
        self._lines: dict[Worker, deque[Place]] = {}  # of workers that have a batch to answer

    def submit(self, worker: Worker, invocation: Invocation, timeout_s: float, done: Done) -> Place:
        """Has one request answered, which may be one of many at the handler; `done` hears of it
        later, once: its answer, or WorkerDied, TimedOut, NotBegun.
        """
        place = Place(invocation, timeout_s, done)
        self._lines.setdefault(worker, deque()).append(place)
        if not worker.busy:
            self._submit(worker)
        return place

    def withdraw(self, worker: Worker, place: Place) -> bool:
        """Takes out a request whose client has gone; False if the handler has it already."""
        line = self._lines.get(worker, ())
        for at, each in enumerate(line):
            if each is place:
                del self._lines[worker][at]
                return True
        return False

    def _submit(self, worker: Worker) -> None:
        """Have the worker answer those that wait now, as far as they fit."""
        line = self._lines[worker]
        batch: list[Place] = []
        room = self._bytes_max
        while line and len(batch) < self._batch_max:
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
        self, worker: Worker, batch: list[Place], outcome: list[Answer] | WorkerDied
    ) -> None:
        for at, each in enumerate(batch):
            each.done(outcome if isinstance(outcome, WorkerDied) else outcome[at])
        if isinstance(outcome, WorkerDied):
            for left in self._lines.pop(worker, ()):
                left.done(NotBegun(str(outcome)))
        else:
            self._submit(worker)
