"""Processes of the host: watched by pidfd, killed by group, buried with a readable status."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from modelplex.runtime.frames import EXIT_OUT_OF_MEMORY

_PR_SET_CHILD_SUBREAPER = 36
_REAP_TRIES = 200  # 10 ms apart: dying and being handed to a new parent take a moment


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a process ended: with an exit code, or by a signal; both None when nobody knows.

    `reason` is the host's own, when it was the host that ended it.
    """

    code: int | None = None
    signal: int | None = None
    reason: str = ""

    @classmethod
    def of(cls, code: int | None, reason: str) -> ExitStatus:
        """From an exit code in which a signal is a negative number; None when it is lost."""
        if code is not None and code < 0:
            return cls(None, -code, reason)
        return cls(code, None, reason)

    @property
    def out_of_memory(self) -> bool:
        """Whether this looks like a lack of memory: its own word for it, or the kernel's killer."""
        return self.code == EXIT_OUT_OF_MEMORY or (
            self.signal == signal.SIGKILL and not self.reason
        )

    def __str__(self) -> str:
        match self:
            case ExitStatus(reason=reason) if reason:
                return f"killed: {reason}"
            case ExitStatus(code=code) if code == EXIT_OUT_OF_MEMORY:
                return "out of memory"
            case ExitStatus(signal=signal.SIGKILL):
                return "killed by SIGKILL (out of memory?)"
            case ExitStatus(signal=int(number)):
                return f"killed by {_signal_name(number)}"
            case ExitStatus(code=int(code)):
                return f"exit code {code}"
            case _:
                return "ended, its status is lost"


class Process:
    """A process that leads its own group. Its pid stays valid until `exited` resolves, because
    nobody but this object has it reaped: signals never hit a stranger."""

    def __init__(
        self,
        pid: int,
        reap: Callable[[], Awaitable[int | None]],
        before_exit: Callable[[ExitStatus], Awaitable[None]],
    ) -> None:
        """`reap` returns the exit code of the dead process, a signal as a negative number, None if
        it is lost; `before_exit` then runs before `exited` resolves."""
        self.pid = pid
        self._loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[ExitStatus] = self._loop.create_future()
        self._reap = reap
        self._before_exit = before_exit
        self.reason = ""  # why the host has ended it, or is about to
        self.ending = False  # there is a reason, or it is gone
        self._sent: set[int] = set()
        self._burial: asyncio.Task[None] | None = None
        self._pidfd = os.pidfd_open(pid)
        self._loop.add_reader(self._pidfd, self._ended)

    def signal(self, number: int, reason: str = "") -> None:
        """Sends a signal to the whole group. The first reason given becomes the exit status's,
        if it is the signal that ends the process."""
        if self.exited.done():
            return
        self.reason = self.reason or reason
        self.ending = bool(self.reason)
        self._sent.add(number)
        # Both: just after the fork the process does not lead its group yet.
        for send in (os.kill, os.killpg):
            with contextlib.suppress(ProcessLookupError):
                send(self.pid, number)

    async def stop(self, grace_s: float, reason: str) -> None:
        """SIGTERM, after `grace_s` SIGKILL; returns when the process is gone."""
        self.signal(signal.SIGTERM, reason)
        await asyncio.wait([self.exited], timeout=grace_s)
        self.signal(signal.SIGKILL, reason)
        await asyncio.shield(self.exited)

    def _ended(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # what the process has left behind
        self._burial = self._loop.create_task(self._bury())

    async def _bury(self) -> None:
        status = ExitStatus(reason=self.reason)
        try:
            code = await self._reap()
            by_host = code is None or -code in self._sent
            status = ExitStatus.of(code, self.reason if by_host else "")
            await _bury_group(self.pid)
            await self._before_exit(status)
        finally:
            self.ending = True
            self.exited.set_result(status)


async def reap_child(pid: int) -> int | None:
    """Reaps a dead process that is, or is about to become, a child of this one: its exit code."""
    for _ in range(_REAP_TRIES):
        with contextlib.suppress(ChildProcessError):
            reaped, status = os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222  does not wait
            if reaped == pid:
                return os.waitstatus_to_exitcode(status)
        if not os.path.exists(f"/proc/{pid}"):  # noqa: ASYNC240  not a disk
            return None
        await asyncio.sleep(0.01)
    return None


def become_subreaper() -> None:
    """Makes this process the parent of its descendants' orphans, so that workers whose zygote died
    can be reaped. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot become a subreaper: {os.strerror(number)}")


def bury_orphans(marker: str, known: set[int]) -> None:
    """Kills and reaps children of this process, other than the `known`, that were started with
    `marker` (NAME=value) in their environment: what a handler left in a session of its own."""
    for pid in _children() - known:
        with contextlib.suppress(OSError):
            if marker.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


async def _bury_group(pid: int) -> None:
    """Reaps what is left of a dead worker's killed group and has become this process's child."""
    for _ in range(_REAP_TRIES):
        try:
            if os.waitpid(-pid, os.WNOHANG)[0] == 0:  # noqa: ASYNC222  does not wait
                await asyncio.sleep(0.01)
        except ChildProcessError:
            return


def private_bytes(pid: int) -> int:
    """What nobody else has in memory, and what ending the process gives back. 0 if it is gone."""
    return _rollup_bytes(pid, b"Private_Clean", b"Private_Dirty")


def pss_bytes(pid: int) -> int:
    """Proportional set size: private memory, and its share of what it shares. 0 if it is gone."""
    return _rollup_bytes(pid, b"Pss")


def resident_bytes(pid: int) -> int:
    """All that it has in memory, shared or not. 0 if it is gone."""
    return _rollup_bytes(pid, b"Rss")


def _rollup_bytes(pid: int, *names: bytes) -> int:
    """The sum of some lines of the kernel's account of a process's memory."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    lines = (line.split() for line in rollup.splitlines()[1:])
    return sum(int(line[1]) for line in lines if line[0].rstrip(b":") in names) * 1024


def _children() -> set[int]:
    children: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has just ended
            children.update(map(int, (task / "children").read_text().split()))
    return children


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
