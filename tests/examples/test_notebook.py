"""The notebook, whole, with nothing but what `modelplex env` exports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import StartPlatform
from tests.support.platform import Platform

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook"
IMAGE = "demo-sagemaker-multimodel"


def build_image(platform: Platform) -> Path:
    """The image's Python; skips, with the reason, where MXNet cannot be installed or imported."""
    try:
        platform.cli("build", "-t", IMAGE, str(NOTEBOOK / "container"), timeout_s=600)
    except AssertionError as problem:
        pytest.skip(f"the MXNet image cannot be built here: {str(problem)[-500:]}")
    images = platform.get("/modelplex/images")["images"]
    return next(Path(image["python"]) for image in images if image["name"] == f"{IMAGE}:latest")


@pytest.mark.e2e
@pytest.mark.mxnet
def test_the_notebook_runs(start_platform: StartPlatform, tmp_path: Path) -> None:
    """Every cell works: two models, ten more, 100 invocations, an update, and the clean-up."""
    platform = start_platform("--memory-mib", "8192")
    python = build_image(platform)
    work = tmp_path / "notebook"
    work.mkdir()
    make = [str(python), str(NOTEBOOK / "models.py")]
    subprocess.run(make, cwd=work, check=True, timeout=300, capture_output=True)
    done = subprocess.run(
        [sys.executable, str(NOTEBOOK / "notebook.py")],
        cwd=work,
        env=platform.environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:] + platform.logs()
    assert done.stdout.count("probability=") >= 4 * 5 + 3  # four answers of five, and the tally
    assert "Number of models: 12" in done.stdout
    tally = [line for line in done.stdout.splitlines() if line.startswith("('probability=")]
    assert sum(int(line.rstrip(")").rsplit(" ", 1)[1]) for line in tally) == 100
    assert platform.client("sagemaker").list_endpoints()["Endpoints"] == []
