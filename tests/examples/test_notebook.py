"""The notebook, whole, with nothing but what `modelplex env` exports."""

from __future__ import annotations

import ctypes.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import StartPlatform
from tests.support.platform import Platform
from tests.support.processes import eventually

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook"
IMAGE = "demo-sagemaker-multimodel"


def missing_libraries() -> list[str]:
    """The system libraries that MXNet's wheel wants and this machine lacks."""
    return [name for name in ("gomp", "quadmath") if ctypes.util.find_library(name) is None]


def build_image(platform: Platform) -> None:
    """Build the image; skip, with the reason, where its packages cannot be had."""
    if missing := missing_libraries():
        pytest.skip(f"not installed: {missing} (apt-get install libgomp1 libquadmath0)")
    try:
        platform.cli("build", "-t", IMAGE, str(NOTEBOOK / "container"), timeout_s=600)
    except AssertionError as problem:
        if "No matching distribution" in str(problem):
            pytest.skip(f"MXNet's packages cannot be had here: {str(problem)[-500:]}")
        raise


def script(platform: Platform, folder: Path, name: str) -> str:
    """Run a script of the example in a folder, with what `modelplex env` exports; its output."""
    done = subprocess.run(
        [sys.executable, str(NOTEBOOK / name)],
        cwd=folder,
        env=platform.environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:] + platform.logs()
    return done.stdout


@pytest.mark.e2e
@pytest.mark.mxnet
def test_the_notebook_runs(start_platform: StartPlatform, tmp_path: Path) -> None:
    """Every cell works: two models, ten more, 100 invocations, an update, and the clean-up."""
    platform = start_platform("--memory-mib", "8192")
    build_image(platform)
    work = tmp_path / "notebook"
    work.mkdir()
    script(platform, work, "models.py")
    told = script(platform, work, "notebook.py")
    assert told.count("\nprobability=") == 4 * 5  # the best five, four times
    assert "Number of models: 12" in told
    tally = [line for line in told.splitlines() if line.startswith("('probability=")]
    assert sum(int(line.rstrip(")").rsplit(" ", 1)[1]) for line in tally) == 100
    sagemaker = platform.client("sagemaker")
    eventually(lambda: not sagemaker.list_endpoints()["Endpoints"], what="the endpoint is deleted")
