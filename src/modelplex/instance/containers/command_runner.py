"""A command that keeps the container contract, as a process of this machine.

It leads a session of its own, dies with this process, has the instance's memory and no more where
memory cgroups are writable, and leaves no process behind: all that it starts has a mark in its
environment.

What a container finds under /opt/ml lies under SAGEMAKER_BASE_DIR, which AWS's inference toolkit
reads: `models`, or the only `model`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

from modelplex.instance.containers.images import CommandImage
from modelplex.instance.containers.runner import Ended, Surroundings
from modelplex.instance.processes import kin
from modelplex.runtime import lifeline
from modelplex.workers.cgroups import Cgroup
from modelplex.workers.errors import StartFailed
from modelplex.workers.limits import PoolLimits
from modelplex.workers.output import Output
from modelplex.workers.process import ExitStatus, Process, become_subreaper, pss_bytes, reap_child

HOST = "127.0.0.1"
PORTS = range(10_000, 31_000)  # below those of clients; Multi Model Server takes no higher ones
PORT_TRIES = 100
SAFE_PORTS = 1000  # after its own, for what else it listens on
BURY_ROUNDS = 100  # a killed process leaves its children to us
BURY_PAUSE_S = 0.01
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "JAVA_HOME")
_leaders: set[int] = set()  # the commands' own processes, whose ends are their runners' to hear
_TIE = (sys.executable, "-I", "-S", lifeline.__file__)


class CommandRunner:
    """Runs the command of an image, once."""

    def __init__(self, image: CommandImage, limits: PoolLimits, place: Surroundings) -> None:
        self._image = image
        self._limits = limits  # of its output
        self._place = place
        self._mark = f"MODELPLEX_CONTAINER={secrets.token_hex(8)}"
        self._base = place.scratch / secrets.token_hex(8)
        self._process: Process | None = None
        self._group: Cgroup | None = None
        self._lacked_memory = False  # the kernel has killed some of it for that
        self._tie: int | None = None
        self._popen: subprocess.Popen[bytes]
        self._output: Output

    @property
    def pid(self) -> int | None:
        """The command's; None before `start`."""
        return self._process.pid if self._process else None

    def path(self, folder: Path) -> str:
        """The same as everybody sees it."""
        return str(folder)

    async def start(self) -> str:
        """Start the command on a free port. Raises StartFailed."""
        become_subreaper()
        try:
            port = _free_port()
            _make_base(self._base, self._place)
            self._spawn(self._environment(port))
        except OSError as error:
            command = " ".join(self._image.command)
            raise StartFailed(f"The command {command!r} cannot be run: {error}.") from error
        return f"tcp:{HOST}:{port}"

    async def wait(self) -> Ended:
        """Return when it has ended."""
        assert self._process is not None
        return self._ended(await asyncio.shield(self._process.exited))

    async def stop(self, grace_s: float) -> None:
        """SIGTERM to the command alone, as engines do; SIGKILL to all that is left then."""
        if self._process is not None:
            if not self._process.exited.done():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._process.pid, signal.SIGTERM)
                await asyncio.wait([self._process.exited], timeout=grace_s)
            self._process.signal(signal.SIGKILL)
            await asyncio.shield(self._process.exited)
        if self._tie is not None:
            os.close(self._tie)
            self._tie = None
        shutil.rmtree(self._base, ignore_errors=True)

    async def memory_bytes(self) -> int:
        """What its processes take: by their cgroup, else the sum of their parts (PSS)."""
        if self._process is None or self._process.exited.done():
            return 0
        _reap_orphans()
        if self._group is not None:
            return self._group.held_bytes()
        return await asyncio.to_thread(_tree_bytes, self._process.pid)

    # -- its start ------------------------------------------------------------------------------

    def _environment(self, port: int) -> dict[str, str]:
        """The image's and the model's, over what any process of this machine needs."""
        own = {name: os.environ[name] for name in INHERITED if name in os.environ}
        given = {**own, **self._place.environment}
        name, _, value = self._mark.partition("=")
        return {
            "LANG": "C.UTF-8",
            **given,
            "PATH": f"{self._image.python.parent}:{given.get('PATH', os.defpath)}",
            "SAGEMAKER_BASE_DIR": str(self._base),
            "SAGEMAKER_BIND_TO_PORT": str(port),
            "SAGEMAKER_SAFE_PORT_RANGE": f"{port + 1}-{port + SAFE_PORTS}",
            name: value,
        }

    def _spawn(self, environment: dict[str, str]) -> None:
        """Raises OSError."""
        program = _program(self._image, environment["PATH"])
        tied, self._tie = os.pipe()
        read, write = os.pipe()
        try:
            self._popen = subprocess.Popen(
                [*_TIE, str(tied), program, *self._image.command[1:]],
                cwd=self._image.code,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=write,
                stderr=write,
                start_new_session=True,
                pass_fds=[tied],
            )
        except OSError:
            os.close(read)
            raise
        finally:
            os.close(write)
            os.close(tied)
        _leaders.add(self._popen.pid)
        self._confine(self._popen.pid)
        self._output = Output(read, self._place.on_output, self._limits)
        self._process = Process(self._popen.pid, self._reap, self._bury)

    def _confine(self, pid: int) -> None:
        """Into a cgroup of its own, while it only ties itself to this process."""
        if self._place.cgroup is None:
            return
        group = Cgroup(self._place.cgroup / f"c{pid}")
        try:
            group.folder.mkdir()
            group.limit(self._place.memory_bytes)
            (group.folder / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            self._place.on_output(f"no memory limit for the container: {error}")
            group.remove()
        else:
            self._group = group

    # -- its end --------------------------------------------------------------------------------

    async def _reap(self) -> int | None:
        return await reap_child(self._popen.pid)

    async def _bury(self, _status: ExitStatus) -> None:
        """End all that it has started, in whatever session, and take the last that it printed."""
        self._popen.returncode = 0  # it is reaped: Popen need not try
        _leaders.discard(self._popen.pid)
        for _ in range(BURY_ROUNDS):
            killed, reaped = _kill_marked(self._mark), _reap_orphans()
            if not (killed or reaped):
                break
            await asyncio.sleep(BURY_PAUSE_S)
        self._output.close()
        if self._group is not None:
            self._lacked_memory = self._group.kills() > 0
            self._group.remove()

    def _ended(self, status: ExitStatus) -> Ended:
        """The kernel kills for lack of memory with the same signal as anybody else."""
        killed = status.signal == signal.SIGKILL
        if killed and self._lacked_memory:
            return Ended(f"out of memory: it took more than {self._place.memory_bytes} bytes", True)
        return Ended("killed by SIGKILL" if killed else str(status))


def _program(image: CommandImage, path: str) -> str:
    """The file of the command: of the image's environment, its folder, or this machine.

    Raises OSError.
    """
    name = image.command[0]
    own = image.code / name
    found = shutil.which(name, path=str(image.python.parent))
    if found is None and own.is_file() and os.access(own, os.X_OK):
        found = str(own)
    found = found or shutil.which(name, path=path)
    if found is None:
        raise FileNotFoundError(f"there is no program {name} in the image or on PATH")
    return found


def _make_base(base: Path, place: Surroundings) -> None:
    """What SAGEMAKER_BASE_DIR shows."""
    base.mkdir(parents=True)
    place.models.mkdir(parents=True, exist_ok=True)
    (base / "models").symlink_to(place.models)
    if place.model is not None:
        (base / "model").symlink_to(place.model)


def _free_port() -> int:
    """A port that nobody listens on. Raises OSError."""
    for port in random.sample(PORTS, PORT_TRIES):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise OSError(f"no port of {PORTS[0]} to {PORTS[-1]} is free, of {PORT_TRIES} tried")


def _tree_bytes(pid: int) -> int:
    return sum(map(pss_bytes, {pid, *kin.descendants(pid)}))


def _kill_marked(mark: str) -> bool:
    """SIGKILL to every process with the mark; whether there was any."""
    killed = False
    for pid in kin.descendants(os.getpid()):
        with contextlib.suppress(OSError):
            if mark.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                os.kill(pid, signal.SIGKILL)
                killed = True
    return killed


def _reap_orphans() -> bool:
    """Reap what has died after its parent, and so has become this process's child; whether there
    was any."""
    found = False
    for pid in set(kin.descendants(os.getpid())) - _leaders:
        with contextlib.suppress(ChildProcessError):
            found |= os.waitpid(pid, os.WNOHANG)[0] == pid
    return found
