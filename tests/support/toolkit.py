"""The real SageMaker Inference Toolkit 1.10.1 on this checkout's model server.

It is installed in an environment of its own, with ours in Multi Model Server's place, and run as
process 1 with an /etc of its own, as in a container: it looks through all processes, and it writes
/etc/sagemaker-mms.properties.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import venv
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import eventually, free_port, processes_of, tail

ROOT = Path(__file__).parents[2]
ENVIRONMENT = Path(sys.prefix) / "toolkit-1.10.1"  # inside .venv, so it goes where that goes
INSTALL_TIMEOUT_S = 300
LIMIT_S = 120
# The toolkit, what it imports, and what our server imports.
PACKAGES = (
    *("sagemaker-inference", "boto3", "botocore", "jmespath", "numpy", "psutil", "retrying"),
    *("python-dateutil", "s3transfer", "scipy", "setuptools", "six", "urllib3"),
    *("httptools", "uvloop"),
)
ENTRY_POINT = """import sys
from sagemaker_inference import model_server
model_server.start_model_server(*sys.argv[1:])
"""
CONTAINER = ("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")
OWN_ETC = 'mkdir "$0" && cp -a /etc/. "$0" && mount --bind "$0" /etc && exec "$@"'


def python() -> Path:
    """The interpreter of the toolkit's environment, made at first use; skips where it cannot be."""
    if os.geteuid() or not shutil.which("unshare") or subprocess.call([*CONTAINER, "true"]):
        pytest.skip("needs namespaces: root, and a kernel that lets it make them")
    wanted = _pins()
    with ENVIRONMENT.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs at once must not see half an environment
        stamp = ENVIRONMENT / "installed"
        if not stamp.exists() or stamp.read_text() != wanted:
            _install(wanted)
            stamp.write_text(wanted)
    return ENVIRONMENT / "bin" / "python"


def _pins() -> str:
    """The packages with their versions and hashes, out of our own pinned requirements."""
    found: dict[str, str] = {}
    for name in ("runtime", "mms"):
        text = (ROOT / "requirements" / f"{name}.txt").read_text()
        for each in re.findall(r"^\S+==(?:.*\\\n)+.*\n", text, re.MULTILINE):
            found[each.partition("==")[0]] = each
    return "".join(found[name] for name in PACKAGES)


def _install(wanted: str) -> None:
    venv.create(ENVIRONMENT, clear=True, with_pip=True)
    pins = ENVIRONMENT / "requirements.txt"
    pins.write_text(wanted)
    for words in (
        ["--require-hashes", "-r", str(pins)],
        ["--no-deps", "--no-build-isolation", "-e", str(ROOT)],
    ):
        pip = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "-q", "--no-compile"]
        done = subprocess.run(
            [*pip, *words], capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S
        )
        if done.returncode:
            pytest.skip(f"the toolkit cannot be installed here: {done.stderr[-500:]}")


class Container:
    """One running entry point; `folder` is its SAGEMAKER_BASE_DIR, and everything else's place."""

    def __init__(self, folder: Path, *arguments: str, **variables: str) -> None:
        self.folder, self.port = folder, free_port()
        self._log = folder / "container.log"
        (folder / "entry.py").write_text(ENTRY_POINT)
        (folder / "tmp").mkdir()
        interpreter = python()
        environ = {
            "PATH": f"{interpreter.parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "TMPDIR": str(folder / "tmp"),
            "LOG_LOCATION": str(folder / "logs"),
            "METRICS_LOCATION": str(folder / "logs"),
            "SAGEMAKER_BASE_DIR": str(folder),
            "SAGEMAKER_BIND_TO_PORT": str(self.port),
            **variables,
        }
        inside = [str(interpreter), str(folder / "entry.py"), *arguments]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*CONTAINER, "sh", "-c", OWN_ETC, str(folder / "etc"), *inside],
                cwd=folder,
                env=environ,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_until(self, path: str) -> None:
        """Until `path` answers with 200; AssertionError with the log if it never does."""
        try:
            eventually(lambda: self._process.poll() is not None or self.ok(path), LIMIT_S)
            assert self._process.poll() is None, "the entry point ended"
        except AssertionError as error:
            raise AssertionError(f"{error}\n{tail(self._log)}") from None

    def ok(self, path: str) -> bool:
        """Whether a GET is answered with 200."""
        try:
            return self.ask("GET", path)[0] == 200
        except OSError:
            return False

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """Status and body of an answer; a `body` that is no bytes is sent as JSON."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data,
            {"Content-Type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def processes(self) -> dict[int, str]:
        """Everything that runs in it."""
        return processes_of(self.folder)

    def stop(self) -> None:
        """SIGTERM to process 1, as `docker stop` sends it; then nothing is left."""
        pid = self._process.pid
        (first,) = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        # The toolkit looks for its server once a second, and cannot be told anything before.
        eventually(lambda: _catches(first, signal.SIGTERM), LIMIT_S, "the toolkit's handler")
        os.kill(first, signal.SIGTERM)
        status = self._process.wait(30)  # then the platform sends SIGKILL
        assert status == 0, f"exit status {status}\n{tail(self._log)}"
        assert not self.processes()

    def kill(self) -> None:
        """The end of a test, however it went: process 1 of the namespace takes all with it."""
        self._process.kill()
        self._process.wait()


def _catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (number - 1) & 1)
