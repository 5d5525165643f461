"""Multi Model Server 1.1.11 as a command image, and as an image of an engine: `mms_image/`, packed.

Needs a package index; without one the tests that want it are skipped, and say why.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.base_images import add_debian
from tests.support.engine import Engine

IMAGE = Path(__file__).with_name("mms_image")
PINS = Path(__file__).parents[2] / "requirements" / "mms.txt"
# The server and what it imports; the toolkit, which is pinned beside it, brings 200 MB of its own.
PACKAGES = (
    *("enum-compat", "future", "model-archiver", "multi-model-server", "pillow", "psutil"),
    "setuptools",
)
INSTALL_TIMEOUT_S = 300


def command_image(folder: Path) -> Path:
    """The source folder of the command image, for `modelplex build`; skips without Java."""
    _java()
    shutil.copytree(IMAGE, folder)
    (folder / "requirements.txt").write_text(_pins())
    return folder


def add_engine_image(engine: Engine, folder: Path, name: str) -> None:
    """Build the same server into the engine, with this machine's Java; `folder` is for its parts.

    Both are Debian 12, and its Java has all that it needs in one folder.
    """
    base, java = add_debian(engine), _java()
    shutil.copytree(IMAGE, folder)
    needless = shutil.ignore_patterns("jmods", "docs", "man")  # a third of it; nothing to run with
    home = java.resolve().parents[1]
    shutil.copytree(home, folder / "java", ignore=needless, ignore_dangling_symlinks=True)
    _install(folder)
    engine.docker("build", "--quiet", "--build-arg", f"BASE={base}", "--tag", name, str(folder))


def _java() -> Path:
    """Java's program; skips where there is none."""
    found = shutil.which("java")
    if found is None:
        pytest.skip("not installed: java (apt-get install default-jre-headless)")
    return Path(found)


def _pins() -> str:
    """The packages with their versions and hashes, out of our own pinned requirements."""
    found = re.findall(r"^\S+==(?:.*\\\n)+.*\n", PINS.read_text(), re.MULTILINE)
    return "".join(each for each in found if each.partition("==")[0] in PACKAGES)


def _install(folder: Path) -> None:
    """Into `folder`/packages, as this machine's Python 3.11 has them, which is the base's too."""
    (folder / "requirements.txt").write_text(_pins())
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--no-deps"]
    words = ["--require-hashes", "-r", "requirements.txt", "--target", "packages"]
    done = subprocess.run(
        [*pip, *words], cwd=folder, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S
    )
    if done.returncode:
        pytest.skip(f"Multi Model Server cannot be installed here: {done.stderr[-500:]}")
