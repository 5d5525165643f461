"""The gateway as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from tests.gateway.world import KEYS
from tests.support.processes import eventually, free_port


def test_the_process_serves_until_it_is_told_to_stop(data: Path) -> None:
    """It reads its settings, answers /ping, and ends with 0 on SIGTERM."""
    port = free_port()
    (data / "settings.json").write_text(
        json.dumps(
            {
                "data": str(data),
                "port": port,
                "access_key": KEYS.access_key,
                "secret_key": KEYS.secret_key,
            }
        )
    )
    command = [sys.executable, "-m", "modelplex.gateway", "--data", str(data)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
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
    port = free_port()
    (data / "settings.json").write_text(
        json.dumps(
            {
                "data": str(data),
                "port": port,
                "access_key": KEYS.access_key,
                "secret_key": KEYS.secret_key,
            }
        )
    )
    script = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-m', 'modelplex.gateway', '--data', {str(data)!r}])\n"
        "time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL) as parent:
        try:
            eventually(lambda: ping(port), what="the gateway answers")
        finally:
            os.kill(parent.pid, signal.SIGKILL)
    eventually(lambda: not ping(port), what="the gateway is gone")


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
