"""Root file systems that base images are made of where no hub can be reached.

The Debian one is made once by mmdebstrap, in half a minute, and kept inside the virtual
environment. The tiny one is a static busybox, for containers in which nothing happens.
"""

from __future__ import annotations

import fcntl
import hashlib
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
UNREAD = ("doc", "locale", "man")  # below /usr/share; images on a hub are without them too
# With it /bin and /usr/bin are one from the start. Otherwise a package comes to make them so, and
# brings all of Perl.
MERGED = Path("/usr/share/mmdebstrap/hooks/merged-usr")
MULTI_MODEL = "com.amazonaws.sagemaker.capabilities.multi-models=true"
BIND_TO_PORT = "com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true"


def add_debian(engine: Engine) -> str:
    """Debian 12 with its Python 3.11, what `python:3.11-slim` is on a hub; the image's name."""
    if not engine.has(DEBIAN):
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
    recipe = _recipe()
    path = CACHE / f"debian-{hashlib.sha256(repr(recipe).encode()).hexdigest()[:12]}.tar"
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs at once must not see half a tree
        if not path.exists():
            _make(path, recipe)
    return path


def _recipe() -> list[str]:
    """The command, up to the name of the file. What is small is imported, built on and pushed in
    half of the time.
    """
    merged = MERGED.is_dir()
    packages = [*PYTHON_PACKAGES, *(["usr-is-merged"] if merged else [])]
    return [
        *("mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(packages)}"),
        *([f"--hook-dir={MERGED}"] if merged else []),
        '--aptopt=APT::Install-Recommends "false"',
        *(f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in UNREAD),
        "bookworm",
    ]


def _make(path: Path, recipe: list[str]) -> None:
    part = path.with_suffix(".part.tar")
    done = subprocess.run(
        [*recipe, str(part)], capture_output=True, text=True, timeout=MAKE_TIMEOUT_S
    )
    if done.returncode:
        part.unlink(missing_ok=True)
        pytest.skip(f"no base image can be made here: {done.stderr[-500:]}")
    os.replace(part, path)
