"""The container as a command: started as the platform would, watched, and ended completely."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from modelplex.check.outcomes import CouldNotRun, Failed
from modelplex.check.wire import Caller

START_LIMIT_S = 240.0  # what SageMaker leaves to a container by default
TERM_LIMIT_S = 30.0  # from SIGTERM to SIGKILL
PING_LIMIT_S = 2.0
_MARK = "MODELPLEX_CHECK"  # an environment variable that the command's processes inherit
_END_LIMIT_S = 10.0
_EVERY_S = 0.1
_PORTS = range(10_000, 31_000)


@dataclass(slots=True)
class Start:
    """How the command came up: seconds to the first good ping, and what GET /models said so far."""

    ready_s: float = 0.0
    lists: list[int] = field(default_factory=list)  # statuses; refused connections do not count


class Command:
    """A process group on a free port. `stop` leaves none of its processes alive."""

    def __init__(self, argv: list[str], output: Path) -> None:
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start = Start()
        self._argv = argv
        self._output = output
        self._mark = uuid.uuid4().hex
        self._process: subprocess.Popen[bytes] | None = None
        self._known: dict[int, str] = {}  # pid -> its start time, which makes it unique
        self._terminated_at = 0.0

    async def up(self) -> None:
        """Start it, then ask for /ping and /models until it is healthy; else CouldNotRun."""
        process = self._spawn()
        caller, began = Caller(self.url, PING_LIMIT_S), time.monotonic()
        while not await self._good_ping(caller):
            if process.poll() is not None:
                raise CouldNotRun(f"the command ended with {process.returncode}:\n{self._tail()}")
            if time.monotonic() - began > START_LIMIT_S:
                raise CouldNotRun(f"no good /ping in {START_LIMIT_S:g} s:\n{self._tail()}")
            await asyncio.sleep(_EVERY_S)
        self.start.ready_s = time.monotonic() - began

    def _spawn(self) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "SAGEMAKER_MULTI_MODEL": "true",
            "SAGEMAKER_BIND_TO_PORT": str(self.port),
            "SAGEMAKER_SAFE_PORT_RANGE": f"{self.port + 1}-{self.port + 1000}",
            _MARK: self._mark,
        }
        try:
            with self._output.open("wb") as output:
                self._process = subprocess.Popen(
                    self._argv,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise CouldNotRun(f"cannot start {self._argv[0]!r}: {error}") from error
        return self._process

    async def _good_ping(self, caller: Caller) -> bool:
        try:
            self.start.lists.append((await caller.call("GET", "/models")).status)
            return (await caller.call("GET", "/ping")).status == 200
        except Failed:
            return False

    # -- its processes -----------------------------------------------------------------------

    def processes(self) -> set[int]:
        """The pids that are alive of all that ever were seen to belong to it; zombies do not."""
        if self._process is None:
            return set()
        alive = _alive()
        mine = {pid for pid, one in alive.items() if self._known.get(pid) == one.started}
        mine |= {pid for pid in alive if self._marked(pid)}
        if self._process.returncode is None:  # afterwards its number may be somebody else's
            root = self._process.pid
            mine |= {pid for pid, one in alive.items() if one.session == root}
        grown = True
        while grown:
            children = {pid for pid, one in alive.items() if one.parent in mine} - mine
            mine |= children
            grown = bool(children)
        self._known |= {pid: alive[pid].started for pid in mine}
        return mine

    def memory_bytes(self) -> int:
        """The memory of all its processes: PSS, so that shared pages count once."""
        return sum(_pss_bytes(pid) for pid in self.processes())

    def _marked(self, pid: int) -> bool:
        try:
            return f"{_MARK}={self._mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:  # gone, or somebody else's
            return False

    # -- its end -----------------------------------------------------------------------------

    @property
    def terminated(self) -> bool:
        """Whether SIGTERM was sent already."""
        return self._terminated_at > 0

    def terminate(self) -> None:
        """SIGTERM to the command itself, as to a container's first process; only the first time."""
        if self._process and not self.terminated:
            self.processes()
            self._terminated_at = time.monotonic()
            self._process.terminate()

    async def ended(self) -> float | None:
        """Seconds from SIGTERM to its exit, or None if it did not exit within the platform's 30."""
        assert self._process
        while self._process.poll() is None:
            if time.monotonic() - self._terminated_at > TERM_LIMIT_S:
                return None
            await asyncio.sleep(_EVERY_S)
        return time.monotonic() - self._terminated_at

    async def leftovers(self) -> dict[int, str]:
        """pid -> command line of what is alive a second after its exit."""
        for _ in range(10):
            if not self.processes():
                return {}
            await asyncio.sleep(_EVERY_S)
        return {pid: _command_line(pid) for pid in sorted(self.processes())}

    async def stop(self) -> None:
        """Kill every process of it; nothing if it was never started."""
        if self._process is None:
            return
        deadline = time.monotonic() + _END_LIMIT_S
        while (mine := self.processes()) and time.monotonic() < deadline:
            for pid in mine:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self._process.poll()
            await asyncio.sleep(0.02)
        self._process.wait(timeout=_END_LIMIT_S)

    def _tail(self) -> str:
        return "\n".join(self._output.read_text(errors="replace").splitlines()[-30:])


@dataclass(frozen=True, slots=True)
class _Process:
    parent: int
    session: int
    started: str


def _alive() -> dict[int, _Process]:
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] not in "ZX":
            found[int(entry.name)] = _Process(int(fields[1]), int(fields[3]), fields[19])
    return found


def _pss_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _command_line(pid: int) -> str:
    try:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return "?"
    return argv.replace(b"\0", b" ").decode(errors="replace")[:120].strip()


def _free_port() -> int:
    """A port that nobody has, below those of clients: Multi Model Server takes no higher one."""
    for port in random.sample(_PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise CouldNotRun(f"no free port among 100 of {_PORTS[0]} to {_PORTS[-1]}")
