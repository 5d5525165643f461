"""The AWS CLI, in an environment of its own. Needs a package index once; skips without one."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ENVIRONMENT = Path(sys.prefix) / "aws-cli"  # inside .venv, so it goes where that goes
REQUIREMENTS = Path(__file__).parents[2] / "requirements" / "aws.txt"
INSTALL_TIMEOUT_S = 300


def aws_cli() -> Path:
    """The folder with the command `aws` in it, made at first use."""
    with ENVIRONMENT.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs at once must not see half an environment
        stamp = ENVIRONMENT / "installed"
        if not stamp.exists() or stamp.read_text() != REQUIREMENTS.read_text():
            _install()
            stamp.write_text(REQUIREMENTS.read_text())
    return ENVIRONMENT / "bin"


def _install() -> None:
    venv.create(ENVIRONMENT, clear=True, with_pip=True)
    pip = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "-q"]
    command = [*pip, "--require-hashes", "-r", str(REQUIREMENTS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)
    if done.returncode:
        pytest.skip(f"the AWS CLI cannot be installed here: {done.stderr[-500:]}")
