"""`modelplex up`, `down` and `env`, as a user meets them."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.conftest import StartPlatform
from tests.support.platform import COMMAND, Platform
from tests.support.processes import eventually

pytestmark = pytest.mark.e2e
VARIABLES = {"AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_ACCESS_KEY_ID"}


def up(data: Path, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run an `up` that is expected to end by itself."""
    return subprocess.run(
        [COMMAND, "up", "--data", str(data), *options],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **env},
    )


def test_a_second_up_says_who_runs(platform: Platform) -> None:
    """Process id, address, and what to do; exit status 1."""
    done = up(platform.data, "--port", "0")
    assert done.returncode == 1
    assert f"already runs on {platform.data}: process " in done.stderr
    assert platform.endpoint in done.stderr


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """Nothing is started then."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = up(tmp_path / "data", "--port", str(port))
    assert done.returncode == 1
    assert f"Cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "--port" in done.stderr


def test_a_bad_setting_ends_it(tmp_path: Path) -> None:
    """Before anything is made."""
    done = up(tmp_path / "data", MODELPLEX_MEMORY_MIB="lots")
    assert done.returncode == 1
    assert "MODELPLEX_MEMORY_MIB: must be a whole number" in done.stderr
    assert not (tmp_path / "data").exists()


def test_it_says_what_is_there_and_down_stops_it(start_platform: StartPlatform) -> None:
    """Address, export line, store, sizes and endpoints; after `down` nothing is left."""
    platform = start_platform("--memory-mib", "512", "--json-logs")
    eventually(lambda: "Ctrl-C stops it." in platform.logs())
    said = platform.logs()
    for part in (platform.endpoint, "modelplex env --data", "ml.m5.xlarge", "none yet"):
        assert part in said
    assert '"event": "gateway.started"' in said
    assert " NOTICE: " not in said  # rclone's lines are JSON too
    settled = json.loads((platform.data / "settings.json").read_text())
    assert settled["memory_mib"] == 512
    assert settled["disk_mib"] > 0  # measured once, for all processes
    command = Command(platform.data)
    assert "Stopped process" in command.run("down").stderr
    platform.assert_no_process_left()
    assert "Nothing runs on" in command.run("down").stderr
    assert "is `modelplex up` running?" in command.fails("ls")
    assert "not running" in command.run("env").stderr


def test_secrets_are_for_the_owner(platform: Platform) -> None:
    """Files with keys are mode 0600, and no command line shows them."""
    for name in ("credentials.json", "settings.json"):
        assert (platform.data / name).stat().st_mode & 0o777 == 0o600
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not any(platform.keys["secret_key"].encode() in line for line in lines)


def test_bash_evaluates_env(platform: Platform) -> None:
    """What `eval "$(modelplex env)"` leaves in the environment."""
    script = f'eval "$({COMMAND} env --data {platform.data})"; env -0'
    out = subprocess.check_output(["bash", "-c", script], text=True)
    found = dict(line.split("=", 1) for line in out.split("\0") if "=" in line)
    assert found.keys() >= VARIABLES
    assert found["AWS_ENDPOINT_URL"] == platform.endpoint
    assert found["AWS_SECRET_ACCESS_KEY"] == platform.keys["secret_key"]
    assert found["AWS_EC2_METADATA_DISABLED"] == "true"


def test_other_shells(command: Command, platform: Platform) -> None:
    """fish and JSON say the same."""
    assert f"set -gx AWS_ENDPOINT_URL '{platform.endpoint}';" in command.ok(
        "env", "--shell", "fish"
    )
    assert json.loads(command.ok("env", "--shell", "json")).keys() >= VARIABLES


def test_without_a_platform_the_way_out_is_named(nowhere: Command) -> None:
    """Every command that needs one says how to start it."""
    for arguments in (("env",), ("ls",), ("status",), ("models", "x")):
        assert "modelplex up" in nowhere.fails(*arguments)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_valid(command: Command, shell: str) -> None:
    """They call modelplex, and the shell accepts them where it is installed."""
    script = command.ok("completion", shell)
    assert "_MODELPLEX_COMPLETE" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n", "-c", script], check=True)
