"""The notebook, whole, with nothing but what `modelplex env` exports."""

from __future__ import annotations

import ctypes.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import StartPlatform
from tests.support.platform import Platform
from tests.support.processes import eventually

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook"
IMAGE = "demo-sagemaker-multimodel"
# A ResNet of the same blocks as ResNet-152, one where that has up to 36: to pack, upload, fetch and
# load 230 MB of weights takes half a minute, and shows nothing that these 40 MB do not.
SHALLOW = """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import networks
from mxnet.gluon.model_zoo.vision import BottleneckV1, ResNetV1


def network(classes):
    return ResNetV1(BottleneckV1, [1, 1, 1, 1], [64, 256, 512, 1024, 2048], classes=classes)


networks.make(Path("data/resnet_152"), "resnet-152", network, seed=1)
"""


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


def python_of_image(platform: Platform) -> str:
    """The interpreter that has MXNet."""
    images = json.loads(platform.cli("images", "--json"))
    (interpreter,) = (each["interpreter"] for each in images if each["name"] == f"{IMAGE}:latest")
    return str(interpreter)


def run(platform: Platform, folder: Path, *command: str) -> str:
    """Run a command in a folder, with what `modelplex env` exports; its output."""
    done = subprocess.run(
        command,
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
    """Every cell works: two models, ten more, 100 invocations, an update, and the clean-up.

    Where resnet_152 is one's own, `models.py` leaves it alone.
    """
    platform = start_platform("--memory-mib", "8192")
    build_image(platform)
    work = tmp_path / "notebook"
    work.mkdir()
    run(platform, work, python_of_image(platform), "-c", SHALLOW, str(NOTEBOOK))
    own = (work / "data" / "resnet_152" / "resnet-152-0000.params").read_bytes()
    run(platform, work, sys.executable, str(NOTEBOOK / "models.py"))
    assert (work / "data" / "resnet_152" / "resnet-152-0000.params").read_bytes() == own
    told = run(platform, work, sys.executable, str(NOTEBOOK / "notebook.py"))
    assert told.count("\nprobability=") == 4 * 5  # the best five, four times
    assert "Number of models: 12" in told
    tally = [line for line in told.splitlines() if line.startswith("('probability=")]
    assert sum(int(line.rstrip(")").rsplit(" ", 1)[1]) for line in tally) == 100
    sagemaker = platform.client("sagemaker")
    eventually(lambda: not sagemaker.list_endpoints()["Endpoints"], what="the endpoint is deleted")
