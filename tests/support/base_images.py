"""Root file systems that base images are made of where no hub can be reached.

The Debian one is made once by mmdebstrap, in half a minute, and kept inside the virtual
environment. The tiny one is a static busybox, for containers in which nothing happens.
"""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.support.engine import Engine

CACHE = Path(sys.prefix) / "base-images"
MAKE_TIMEOUT_S = 600
DEBIAN = "debian-python:bookworm"
BUSYBOX = "busybox:static"
PYTHON_PACKAGES = ("python3-venv", "ca-certificates")
MULTI_MODEL = "com.amazonaws.sagemaker.capabilities.multi-models=true"
BIND_TO_PORT = "com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true"


def add_debian(engine: Engine) -> str:
    """Debian 12 with its Python 3.11, what `python:3.11-slim` is on a hub; the image's name."""
    engine.add(_debian(), DEBIAN)
    return DEBIAN


def add_busybox(engine: Engine, name: str = BUSYBOX, *changes: str) -> str:
    """Two megabytes with a shell and an HTTP server, and Dockerfile lines; the image's name."""
    busybox = Path("/bin/busybox")
    if not busybox.exists():
        pytest.skip("not installed: busybox (apt-get install busybox-static)")
    path = engine.folder / "busybox.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(busybox, "bin/busybox")
        for applet in ("sh", "sleep", "cat", "echo", "nc", "wget", "env", "ls", "kill"):
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname, link.mode = tarfile.SYMTYPE, "busybox", 0o777
            tar.addfile(link)
        folder = tarfile.TarInfo("tmp")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(folder, io.BytesIO())
    engine.add(path, name, "ENV PATH=/bin", *changes)
    return name


def _debian() -> Path:
    """The tar file, made at first use; skips, with the reason, where it cannot be."""
    if shutil.which("mmdebstrap") is None:
        pytest.skip("not installed: mmdebstrap (apt-get install mmdebstrap)")
    CACHE.mkdir(exist_ok=True)
    path = CACHE / "debian-python.tar"
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs at once must not see half a tree
        if not path.exists():
            _make(path)
    return path


def _make(path: Path) -> None:
    part = path.with_suffix(".part.tar")
    command = [
        *("mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PYTHON_PACKAGES)}"),
        *("bookworm", str(part)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=MAKE_TIMEOUT_S)
    if done.returncode:
        part.unlink(missing_ok=True)
        pytest.skip(f"no base image can be made here: {done.stderr[-500:]}")
    os.replace(part, path)
