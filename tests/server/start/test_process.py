"""The server process as the first one of a container: signals, and children of strangers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import eventually, free_port

ORPHAN = """
import ctypes, os, time
from modelplex.server.start.process import Orphans, _is_dead
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
read, write = os.pipe()
if os.fork() == 0:
    if (pid := os.fork()) == 0:
        os._exit(0)
    os.write(write, str(pid).encode())
    os._exit(0)
os.wait()
orphan = int(os.read(read, 20))
while not _is_dead(orphan):
    time.sleep(0.01)
mine = os.fork()
if mine == 0:
    os._exit(3)
os.waitid(os.P_PID, mine, os.WEXITED | os.WNOWAIT)
orphans = Orphans()
orphans.bury()
assert os.waitpid(mine, 0)[1] == 3 << 8, "what has an owner is left to it"
assert _is_dead(orphan)
orphans.bury()
assert not _is_dead(orphan)
"""


def test_orphans_are_buried() -> None:
    """What stays dead from one look to the next; a child with an owner is left to the owner."""
    subprocess.run([sys.executable, "-c", ORPHAN], check=True, timeout=60)


def test_as_process_1_it_ends_when_it_is_told(tmp_path: Path) -> None:
    """The kernel gives process 1 no signal that it has no handler for; the server has."""
    inside = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if os.geteuid() or not shutil.which("unshare") or subprocess.call([*inside, "true"]):
        pytest.skip("needs to make a process namespace: root, and a kernel that lets it")
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    text = f"inference_address={address}\nmanagement_address={address}\n"
    (tmp_path / "config.properties").write_text(text)
    environ = {**os.environ, "LOG_LOCATION": str(tmp_path), "METRICS_LOCATION": str(tmp_path)}
    server = [sys.executable, "-m", "modelplex.server"]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(
            [*inside, *server], cwd=tmp_path, env=environ, stdout=said, stderr=said
        )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        eventually(lambda: f":{port}" in (tmp_path / "said").read_text(), 60, "listening")
        (first,) = map(int, children.read_text().split())
        os.kill(first, signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
