"""An image's own virtual environment: the interpreter, pip, and a first import of the handler."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from modelplex.images import probe

STEP_TIMEOUT_S = 3600.0  # one command of a build; then it is killed and the build fails
_TAIL_LINES = 30


class BuildFailed(Exception):
    """A step of a build did not work. `tail` is the end of what its command printed."""

    def __init__(self, message: str, tail: str = "") -> None:
        super().__init__(message)
        self.tail = tail


def interpreter(wanted: str | None) -> tuple[str, str]:
    """Path and full version of the Python to build with; None stands for the platform's own.

    Raises BuildFailed where PATH has no such interpreter.
    """
    if wanted is None or wanted == f"{sys.version_info[0]}.{sys.version_info[1]}":
        return sys.executable, ".".join(map(str, sys.version_info[:3]))
    path = shutil.which(f"python{wanted}")
    if path is None:
        missing = f"there is no python{wanted} on PATH: install it first."
        raise BuildFailed(f"image.toml asks for Python {wanted}, but {missing}")
    ask = "import platform; print(platform.python_version())"
    return path, _run([path, "-c", ask], Path("/"), path)[-1]


def create(python: str, env: Path) -> None:
    """Make the empty environment. Raises BuildFailed."""
    _run([python, "-m", "venv", "--without-pip", str(env)], env.parent, "python -m venv")


def install(env: Path, code: Path, requirements: str, on_line: Callable[[str], None]) -> None:
    """Install a requirements file with the platform's own pip, which needs none in `env`.

    PIP_* variables and pip's configuration files apply as always. Raises BuildFailed.
    """
    if importlib.util.find_spec("pip") is None:
        raise BuildFailed(f"{sys.executable} has no pip, which installs an image's requirements.")
    pip = [sys.executable, "-m", "pip", "--python", str(env / "bin" / "python"), "install"]
    flags = ["--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    _run([*pip, *flags, "-r", requirements], code, "pip install", on_line)


def preload(env: Path, code: Path, handler: str) -> list[str]:
    """The modules that the handler imports, found by importing it. Raises BuildFailed."""
    python = str(env / "bin" / "python")
    lines = _run([python, "-I", probe.__file__, str(code), handler], code, f"importing {handler}")
    try:
        answer = json.loads(lines[-1])
    except (IndexError, ValueError):
        raise BuildFailed(f"importing {handler} ended the process", "\n".join(lines)) from None
    if "error" in answer:
        raise BuildFailed(f"{handler} cannot be imported", answer["error"].rstrip())
    return list(answer["preload"])


def check_command(env: Path, code: Path, word: str) -> None:
    """That a command's first word is a program of the environment, the image's folder or PATH.

    Raises BuildFailed.
    """
    places = [str(env / "bin"), str(code), os.environ.get("PATH", os.defpath)]
    found = code / word if "/" in word else shutil.which(word, path=os.pathsep.join(places))
    if found is None or not os.access(found, os.X_OK):
        raise BuildFailed(
            f"command: {word!r} is no program of the image's requirements, nor in its folder, nor"
            " on PATH. A script in the folder must be executable (chmod +x)."
        )


def _run(
    argv: list[str], cwd: Path, title: str, on_line: Callable[[str], None] = lambda line: None
) -> list[str]:
    """Run a command to its end; the last lines it printed. Raises BuildFailed.

    It has a process group of its own, which is killed with everything in it when this is
    interrupted or takes too long.
    """
    process = subprocess.Popen(
        argv,
        cwd=cwd,
        env={k: v for k, v in os.environ.items() if k not in ("PYTHONHOME", "PYTHONPATH")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    timer = threading.Timer(STEP_TIMEOUT_S, _kill_group, [process.pid])
    timer.start()
    try:
        tail = _follow(process, on_line)
    finally:
        timer.cancel()
        if process.poll() is None:
            _kill_group(process.pid)
            process.wait()
    if process.returncode:
        raise BuildFailed(f"{title} failed (exit status {process.returncode})", "\n".join(tail))
    return list(tail)


def _follow(process: subprocess.Popen[str], on_line: Callable[[str], None]) -> deque[str]:
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            tail.append(line.rstrip())
            on_line(line.rstrip())
    process.wait()
    return tail


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
