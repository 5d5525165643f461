"""What tests need to know about this machine: free ports, who is alive, the end of a log."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path


def free_port() -> int:
    """A TCP port of loopback that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def tail(path: Path, lines: int = 40) -> str:
    """The end of a text file under its name, for failure messages; a missing one says so."""
    if not path.exists():
        return f"--- {path}: missing"
    text = path.read_text(errors="replace").splitlines()[-lines:]
    return "\n".join([f"--- {path}", *text])


def processes_of(folder: Path) -> dict[int, str]:
    """Every process whose arguments, environment or working directory name `folder`: pid -> argv.

    All processes of a platform name their data folder in at least one of the three. Zombies have
    none of them, and are not counted.
    """
    needle = os.fsencode(folder)
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            argv = (entry / "cmdline").read_bytes()
            facts = (
                argv,
                (entry / "environ").read_bytes(),
                os.fsencode((entry / "cwd").readlink()),
            )
        except OSError:  # gone, or somebody else's
            continue
        if any(needle in fact for fact in facts):
            found[int(entry.name)] = argv.replace(b"\0", b" ").decode(errors="replace")
    return found


def eventually(condition: Callable[[], object], limit_s: float = 60.0, what: str = "") -> None:
    """Wait until `condition()` is true; AssertionError naming it when it never is."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s:g} s: {what or condition}"
        time.sleep(0.05)


def living(mark: str) -> list[int]:
    """Processes that were started with `mark` in their environment and are not zombies."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                environment = (folder / "environ").read_bytes()
            except OSError:
                continue
            if mark.encode() in environment:
                found.append(int(folder.name))
    return found
