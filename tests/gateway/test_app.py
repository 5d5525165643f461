"""The gateway as a process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from modelplex.http.addresses import listen_shared
from tests.gateway.world import KEYS
from tests.support.processes import eventually


def test_the_process_serves_until_it_is_told_to_stop(data: Path) -> None:
    """It reads its settings, answers /ping, and ends with 0 on SIGTERM."""
    port, listener = opened(data)
    command = [sys.executable, "-m", "modelplex.gateway", "--data", str(data)]
    command += ["--listeners", str(listener.fileno())]
    fds = [listener.fileno()]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, pass_fds=fds) as process:
        listener.close()
        try:
            eventually(lambda: ping(port), what="the gateway answers")
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0, log
    assert "gateway.started" in log
    assert KEYS.secret_key not in log


def test_the_process_dies_with_its_parent(data: Path) -> None:
    """Killing the parent with SIGKILL ends the gateway."""
    _, listener = opened(data)
    fd, private = listener.fileno(), data / "run" / "gateway.sock"
    command = ["-m", "modelplex.gateway", "--data", str(data), "--listeners", str(fd)]
    script = (
        "import os, subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, *{command}], pass_fds=[{fd}])\n"
        f"os.close({fd})\n"
        "time.sleep(600)"
    )
    script_command = [sys.executable, "-c", script]
    with subprocess.Popen(script_command, stderr=subprocess.DEVNULL, pass_fds=[fd]) as parent:
        listener.close()
        try:
            eventually(lambda: listens(private), what="the gateway is up")
        finally:
            os.kill(parent.pid, signal.SIGKILL)
    eventually(lambda: not listens(private), what="the gateway is gone")


def opened(data: Path) -> tuple[int, socket.socket]:
    """What a supervisor does for a gateway: its settings written, its port open."""
    (listener,) = listen_shared("127.0.0.1", 0, 1)
    port = listener.getsockname()[1]
    document = {"data": str(data), "port": port, "gateways": 1}
    keys = {"access_key": KEYS.access_key, "secret_key": KEYS.secret_key}
    (data / "settings.json").write_text(json.dumps({**document, **keys}))
    return port, listener


def listens(path: Path) -> bool:
    """Whether somebody takes connections on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


def ping(port: int) -> bool:
    """Whether a gateway answers there; without control it is not ready, and says so."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=10).close()
    except urllib.error.HTTPError as answer:
        with answer:
            return bool(json.load(answer) == {"status": "Starting"})
    except OSError:
        return False
    raise AssertionError("it is ready without ever having heard of control")
