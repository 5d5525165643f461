"""The platform's own processes: what they inherit, where they listen, when `up` gives up."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from modelplex.settings import Settings
from modelplex.supervisor import platform
from modelplex.supervisor.platform import StartFailed
from tests.support.platform import COMMAND
from tests.support.processes import processes_of


def test_the_users_shell_does_not_reach_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_*, RCLONE_* and MODELPLEX_* are gone, proxies are not asked for loopback."""
    for name in ("AWS_PROFILE", "RCLONE_CONFIG", "MODELPLEX_SECRET_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("NO_PROXY", "example.org")
    monkeypatch.setenv("no_proxy", "")
    platform.clean_environment()
    assert not {"AWS_PROFILE", "RCLONE_CONFIG", "MODELPLEX_SECRET_KEY"} & set(os.environ)
    assert os.environ["NO_PROXY"] == "example.org,127.0.0.1,localhost"


def test_a_port_is_free_or_refused() -> None:
    """0 becomes a real one; a taken one is named."""
    assert platform.choose_port("127.0.0.1", 0, "--registry-port") > 0
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartFailed, match=rf"Cannot listen on 127\.0\.0\.1:{port}"):
            platform.choose_port("127.0.0.1", port, "--registry-port")
        with pytest.raises(StartFailed, match=rf"Cannot listen on 127\.0\.0\.1:{port}.*--port"):
            platform.open_port(Settings(host="127.0.0.1", port=port, gateways=1))


def test_sizes_that_were_left_open_are_measured_once(tmp_path: Path) -> None:
    """Whole numbers for settings.json; what was chosen stays."""
    open_ones = platform.with_sizes(Settings(data=tmp_path))
    assert open_ones.memory_mib > 0
    assert open_ones.disk_mib > 0
    assert open_ones.gateways > 0
    chosen = Settings(data=tmp_path, memory_mib=7, disk_mib=8, gateways=9)
    assert platform.with_sizes(chosen) == chosen


def test_a_part_that_does_not_stay_up_ends_it(tmp_path: Path) -> None:
    """`up` names the part, stops the others and fails, instead of restarting it for ever."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "records.sqlite").write_bytes(b"this is no database" * 100)
    command = [COMMAND, "up", "--data", str(data), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "control does not stay up (exit code 1)" in done.stderr
    assert not processes_of(data)
