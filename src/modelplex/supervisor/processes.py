"""Keeping processes: started, restarted with a growing delay, stopped, buried.

    start -> running -> (it ends) -> exited -> (restart, after a delay) -> running
                 stop -> stopping -> exited -> forgotten

Nothing is decided here but how long to wait: whoever asked for a process says what it is.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections import defaultdict
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from modelplex.supervisor.guard import Guard
from modelplex.supervisor.logfile import LogFile
from modelplex.supervisor.spawn import children, describe_exit, kill_group, spawn
from modelplex.supervisor.spec import Spec

log = logging.getLogger(__name__)

STEADY_S = 10.0  # a process that lived this long starts again at once
FIRST_DELAY_S = 0.2  # before the first restart of one that did not; doubled for every further one
KILL_WAIT_S = 5.0  # for the end of a process that got SIGKILL: only the kernel can hold it up
STDERR = 2
INSTANCES = 1  # the stage of processes that are asked for over the socket


class Stopping(Exception):
    """The platform is being stopped: nothing new is started."""


class Process:
    """One kept process. Only `Processes` changes it."""

    def __init__(self, name: str, spec: Spec, stage: int) -> None:
        self.name, self.spec, self.stage = name, spec, stage
        self.state = "exited"
        self.pid: int | None = None
        self.started_at = 0.0
        self.exits = 0
        self.last_exit: str | None = None
        self.stop_asked = asyncio.Event()
        self.ended = asyncio.Event()  # the running process was reaped

    def is_over(self) -> bool:
        """Whether it ended and will not be started again."""
        return self.state == "exited" and not self.spec.restart

    def row(self) -> dict[str, Any]:
        """What the API shows."""
        return {
            "pid": self.pid,
            "state": self.state,
            "started_at": self.started_at,
            "exits": self.exits,
            "last_exit": self.last_exit,
        }


class Processes:
    """All processes of one supervisor, by name. Must be the only one that waits for children."""

    def __init__(self, restart_delay_max_s: float, log_bytes_max: int, lock: int) -> None:
        """`lock` is a descriptor that the guard keeps open as long as anything may run."""
        self._restart_delay_max_s = restart_delay_max_s
        self._log_bytes_max = log_bytes_max
        self._known: dict[str, Process] = {}
        self._guard = Guard(lock)
        self._guard.start([])
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.version = 0
        self._changed = asyncio.Event()

    def rows(self) -> dict[str, dict[str, Any]]:
        return {name: process.row() for name, process in self._known.items()}

    async def wait_for_change(self, after: int, wait_s: float) -> None:
        """Return once `version` is another than `after`, or `wait_s` later."""
        try:
            async with asyncio.timeout(wait_s):
                while self.version == after:
                    await self._changed.wait()
        except TimeoutError:
            return

    async def start(self, name: str, spec: Spec, stage: int = INSTANCES) -> bool:
        """Have `name` run as `spec` says; False if it already does.

        One with another spec, or one that exited for good, is replaced. Raises OSError if the
        program cannot be started, Stopping.
        """
        async with self._locks[name]:
            old = self._known.get(name)
            if old and old.spec == spec and not old.stop_asked.is_set() and not old.is_over():
                return False
            await self.stop(name)
            if self._stopping:
                raise Stopping(f"{name} is not started: the platform is being stopped")
            process = Process(name, spec, stage)
            self._spawn(process)
            self._known[name] = process
            self._background(self._keep(process))
            return True

    async def stop(self, name: str, grace_s: float | None = None) -> bool:
        """SIGTERM, then after `grace_s` (None: the spec's) SIGKILL to the group; False if unknown.

        Goes on to its end even if the caller is cancelled.
        """
        process = self._known.get(name)
        if process is None:
            return False
        await asyncio.shield(self._background(self._stop(process, grace_s)))
        return True

    async def stop_all(self, timeout_s: float) -> None:
        """Stop everything, the highest stage first, each in at most half of the time left."""
        self._stopping = True
        deadline = time.monotonic() + timeout_s
        stages = sorted({process.stage for process in self._known.values()}, reverse=True)
        for stage in stages:
            left = max(0.0, deadline - time.monotonic())
            grace = left if stage == stages[-1] else left / 2
            names = [name for name, each in self._known.items() if each.stage == stage]
            await asyncio.gather(*(self.stop(name, grace) for name in names))
        self._kill_orphans()
        self._guard.close()

    def kill_all(self) -> None:
        """SIGKILL to every group, now."""
        self._stopping = True
        for process in self._known.values():
            process.stop_asked.set()
            if process.pid is not None:
                kill_group(process.pid)

    def reap(self) -> None:
        """Bury every child that has ended. To be called at SIGCHLD."""
        by_pid = {each.pid: each for each in self._known.values() if each.pid is not None}
        while found := _ended_child():
            if found in by_pid:
                kill_group(found)  # what it left in its group; the number is ours until waitpid
            _, status = os.waitpid(found, 0)
            if found in by_pid:
                self._buried(by_pid[found], describe_exit(status))
            elif found == self._guard.pid and not self._stopping:
                log.warning("guard.exited", extra={"pid": found, "exit": describe_exit(status)})
                self._guard.close()
                asyncio.get_running_loop().call_later(FIRST_DELAY_S, self._restart_guard)
        self._kill_orphans()

    def _restart_guard(self) -> None:
        if not self._stopping:
            self._guard.start(each.pid for each in self._known.values() if each.pid is not None)

    async def _keep(self, process: Process) -> None:
        delay = 0.0
        while True:
            began = time.monotonic()
            await process.ended.wait()
            lived = time.monotonic() - began
            if process.stop_asked.is_set() or not process.spec.restart:
                return
            delay = 0.0 if lived >= STEADY_S else max(2 * delay, FIRST_DELAY_S)
            if await _is_set_within(process.stop_asked, min(delay, self._restart_delay_max_s)):
                return
            try:
                self._spawn(process)
            except OSError as error:
                self._buried(process, f"could not be started: {error}")

    def _spawn(self, process: Process) -> None:
        spec = process.spec
        log_file = LogFile(Path(spec.log), self._log_bytes_max) if spec.log else None
        output = log_file.pipe() if log_file else STDERR
        try:
            pid = spawn(spec, output)
        finally:
            if log_file:
                os.close(output)
        self._guard.add(pid)
        process.pid, process.state, process.started_at = pid, "running", time.time()
        process.ended.clear()
        log.info("process.started", extra={"which": process.name, "pid": pid})
        self._mark_changed()

    async def _stop(self, process: Process, grace_s: float | None) -> None:
        process.stop_asked.set()
        if process.pid is not None:
            process.state = "stopping"
            self._mark_changed()
            os.kill(process.pid, signal.SIGTERM)
            grace = process.spec.grace_s if grace_s is None else grace_s
            if not await _is_set_within(process.ended, grace):
                log.warning("process.killed", extra={"which": process.name, "grace_s": grace})
                if process.pid is not None:
                    kill_group(process.pid)
                await _is_set_within(process.ended, KILL_WAIT_S)
        if self._known.get(process.name) is process:
            del self._known[process.name]
            self._mark_changed()

    def _buried(self, process: Process, how: str) -> None:
        level = logging.INFO if process.stop_asked.is_set() else logging.WARNING
        log.log(level, "process.exited", extra={"which": process.name, "exit": how})
        if process.pid is not None:
            self._guard.remove(process.pid)
        process.pid, process.state, process.last_exit = None, "exited", how
        process.exits += 1
        process.ended.set()
        self._mark_changed()

    def _kill_orphans(self) -> None:
        """Whoever was adopted has lost the process it worked for.

        As process 1 of a container this would hit strangers, so there it does nothing.
        """
        ours = {each.pid for each in self._known.values()} | {self._guard.pid}
        for pid in [] if os.getpid() == 1 else children():
            if pid not in ours:
                os.kill(pid, signal.SIGKILL)

    def _mark_changed(self) -> None:
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()

    def _background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
    return event.is_set()


def _ended_child() -> int | None:
    """The process id of a child that has ended and is not reaped yet, if there is one."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return found.si_pid if found else None
