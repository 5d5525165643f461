"""Asks a process to fork and to reap, and waits for its word: the host's side of `forking.py`."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelplex.runtime import frames
from modelplex.workers.channel import Channel
from modelplex.workers.errors import LoadFailed, OutOfMemory
from modelplex.workers.process import Process, reap_child


class ForkerGone(Exception):
    """The process died before it did what was asked; perhaps another one can be asked."""


class Forker:
    """A zygote's or template's answers to orders, told apart by number."""

    def __init__(self, process: Process, channel: Channel, timeout_s: float) -> None:
        """It is killed when it takes longer than `timeout_s` for an order."""
        self._process = process
        self._channel = channel
        self._timeout_s = timeout_s
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[frames.Frame]] = {}
        self._discards: set[asyncio.Task[int | None]] = set()

    @property
    def gone(self) -> bool:
        """Whether the process has ended."""
        return self._process.exited.done()

    async def fork(
        self, connection: int, output: int, body_bytes_max: int, cgroup: Path | None
    ) -> int:
        """Forks a process that gets copies of both descriptors; returns its pid.

        It makes itself a memory cgroup in the folder `cgroup`, if that is given.

        Raises ForkerGone, OutOfMemory, LoadFailed.
        """
        descriptors = (connection, output)
        parent = str(cgroup or "")
        frame = await self._ask(
            frames.FORK, descriptors, body_bytes_max=body_bytes_max, cgroup=parent
        )
        values = frame.values()
        if frame.kind == frames.FORKED:
            return int(values["pid"])
        reason = values["reason"]
        if "memory" in reason:
            raise OutOfMemory(f"no memory to start a process: {reason}")
        raise LoadFailed(f"cannot start a process for the model: {reason}")

    async def reap(self, pid: int) -> int | None:
        """Reaps a child that is dead or dying, whether its parent still lives or not; returns its
        exit code."""
        try:
            frame = await self._ask(frames.REAP, pid=pid)
        except ForkerGone:
            return await reap_child(pid)
        status = frame.values()["status"]
        return None if status is None else os.waitstatus_to_exitcode(status)

    def take(self, frame: frames.Frame) -> None:
        """A frame from the process."""
        answer = self._answers.pop(frame.request, None)
        if answer is not None and not answer.done():
            answer.set_result(frame)
        elif frame.kind == frames.FORKED:
            self._discard(int(frame.values()["pid"]))

    def lost(self) -> None:
        """The process is dead, and its channel closed."""
        answers, self._answers = self._answers, {}
        for answer in answers.values():
            if not answer.done():
                answer.set_exception(ForkerGone())

    async def _ask(self, kind: int, descriptors: Sequence[int] = (), **values: Any) -> frames.Frame:
        if self.gone:
            raise ForkerGone
        number = next(self._numbers) & 0xFFFFFFFF
        answer: asyncio.Future[frames.Frame] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        self._channel.send(frames.order(kind, number, **values), descriptors)
        if self._channel.backed_up:  # it has not read its last hundred orders: it hangs
            self._process.signal(signal.SIGKILL, "takes no orders")
        try:
            async with asyncio.timeout(self._timeout_s):
                return await answer
        except TimeoutError:
            self._process.signal(signal.SIGKILL, "does not answer")
            raise ForkerGone from None

    def _discard(self, pid: int) -> None:
        """A child that nobody waits for any more. It is not reaped yet, so the pid is its own."""
        os.kill(pid, signal.SIGKILL)
        task = asyncio.get_running_loop().create_task(self.reap(pid))
        self._discards.add(task)
        task.add_done_callback(self._discards.discard)
