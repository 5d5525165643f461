"""The real Multi Model Server 1.1.11 with its toolkit, in an environment of its own.

Its Java process is started as the toolkit starts it in a container. Needs Java, and a package
index once; without either the tests that want it are skipped, and say why.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.support.containers import settings

ENVIRONMENT = Path(sys.prefix) / "mms-1.1.11"  # inside .venv, so it goes where that goes
REQUIREMENTS = Path(__file__).parents[2] / "requirements" / "mms.txt"
JAVA_CLASS = "com.amazonaws.ml.mms.ModelServer"
INSTALL_TIMEOUT_S = 300


def mms(folder: Path, **changes: str) -> list[str]:
    """A command that runs MMS as a container does, with its files in `folder`.

    It is Java itself, so that SIGTERM goes where the toolkit would pass it on to.
    """
    python = environment() / "bin" / "python"
    package = next((ENVIRONMENT / "lib").glob("python3*/site-packages"))
    file = settings(folder, **changes)
    return [
        *("env", f"PYTHONPATH={folder}", f"LOG_LOCATION={folder}", f"METRICS_LOCATION={folder}"),
        *("java", "-Xmx512m", f"-Djava.io.tmpdir={folder}", f"-Dmodel_server_home={package}"),
        *("-cp", str(package / "mms" / "frontend" / "*"), JAVA_CLASS),
        *("--python", str(python), "-f", str(file), "-s", "/"),
    ]


def environment() -> Path:
    """The virtual environment with MMS in it, made at first use; skips where it cannot be."""
    if shutil.which("java") is None:
        pytest.skip("not installed: java (apt-get install default-jre-headless)")
    with ENVIRONMENT.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs at once must not see half an environment
        stamp = ENVIRONMENT / "installed"
        if not stamp.exists() or stamp.read_text() != REQUIREMENTS.read_text():
            _install()
            stamp.write_text(REQUIREMENTS.read_text())
    return ENVIRONMENT


def _install() -> None:
    venv.create(ENVIRONMENT, clear=True, with_pip=True)
    pip = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "-q", "--no-compile"]
    command = [*pip, "--require-hashes", "-r", str(REQUIREMENTS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)
    if done.returncode:
        pytest.skip(f"Multi Model Server cannot be installed here: {done.stderr[-500:]}")
