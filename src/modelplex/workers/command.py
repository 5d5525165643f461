"""Runs a command of the host's side, such as pip, line by line and never longer than its caller."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from modelplex.runtime import lifeline
from modelplex.workers.errors import LoadFailed
from modelplex.workers.limits import PoolLimits
from modelplex.workers.output import Output
from modelplex.workers.process import ExitStatus, Process

_TIE = (sys.executable, "-I", "-S", lifeline.__file__)
OnLine = Callable[[str], None]

_NOTHING: Mapping[str, str] = MappingProxyType({})


async def run(
    argv: list[str],
    cwd: Path,
    title: str,
    on_line: OnLine = lambda _: None,
    variables: Mapping[str, str] = _NOTHING,
) -> list[str]:
    """Runs a command to its end and returns the last lines that it printed.

    Raises LoadFailed with `title` and those lines when it fails. When cancelled, the command is
    killed with all processes of its group, and so it is when this process dies. It sees this
    process's environment, and `variables`.
    """
    tied, tie = os.pipe()
    try:
        return await _run(argv, cwd, title, on_line, variables, tied)
    finally:
        os.close(tie)


async def _run(  # noqa: PLR0917
    argv: list[str],
    cwd: Path,
    title: str,
    on_line: OnLine,
    variables: Mapping[str, str],
    tied: int,
) -> list[str]:
    read, write = os.pipe()
    try:
        popen = _start([*_TIE, str(tied), *argv], cwd, write, variables, tied)
    except OSError as error:
        os.close(read)
        raise LoadFailed(f"{title} failed: {error}") from error
    finally:
        os.close(write)
        os.close(tied)
    output = Output(read, on_line, PoolLimits())

    async def reap() -> int:
        return popen.wait()

    async def drain(_: ExitStatus) -> None:
        output.close()

    process = Process(popen.pid, reap, drain)
    try:
        status = await asyncio.shield(process.exited)
    except asyncio.CancelledError:
        await process.stop(0.0, "given up")
        raise
    if status.code != 0:
        raise LoadFailed("\n".join([f"{title} failed ({status}):", *output.tail]))
    return list(output.tail)


def _start(
    argv: list[str], cwd: Path, output: int, variables: Mapping[str, str], tied: int
) -> subprocess.Popen[bytes]:
    """PYTHONHOME and PYTHONPATH are this process's business, not that of another Python."""
    environment = {**os.environ, **variables}
    for name in ("PYTHONHOME", "PYTHONPATH"):
        environment.pop(name, None)
    return subprocess.Popen(
        argv,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        pass_fds=[tied],
    )
