"""The notebook's build section and what follows, whole, on an engine and a registry of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import StartPlatform
from tests.support.aws_cli import aws_cli
from tests.support.base_images import add_debian
from tests.support.engine import Engine
from tests.support.platform import Platform

BYOC = Path(__file__).parents[2] / "examples" / "byoc"
REGISTRY = "docker-registry"


def run(command: list[str], platform: Platform, engine: Engine, base: str = "") -> str:
    """A step of the example with what `modelplex env` exports, and the engine's; its output."""
    environment = {**platform.environment(), **engine.environment}
    path = f"{aws_cli()}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        command,
        env={**environment, "PATH": path, "BASE": base, "PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-5000:] + platform.logs()
    return done.stdout


@pytest.mark.e2e
@pytest.mark.engine
@pytest.mark.registry
def test_a_container_of_ones_own_from_its_build_to_its_end(
    start_platform: StartPlatform, engine: Engine
) -> None:
    """Built, pushed, named in CreateModel; twelve models answer, also when the container lacks
    memory and after it was killed under load; nothing of it is left.
    """
    if shutil.which(REGISTRY) is None:
        pytest.skip(f"not installed: {REGISTRY} (apt-get install {REGISTRY})")
    platform = start_platform(
        *("--registry", "--registry-port", "0", "--instance-scale", "0.03"),
        *("--memory-mib", "2048", "--container-engine", engine.url),
    )
    told = run([str(BYOC / "build_and_push.sh")], platform, engine, add_debian(engine))
    assert "RepositoryNotFoundException" in told
    assert "Login Succeeded" in told

    told = run([sys.executable, str(BYOC / "byoc.py")], platform, engine)
    assert len(re.findall(r"^model_\d+\.tar\.gz: class \d", told, re.MULTILINE)) == 12
    refused = re.search(r"no memory for a model (\d+) times, and said 507", told)
    assert refused is not None
    assert int(refused[1]) > 0
    answered = re.search(r"(\d+) answered", told)
    assert answered is not None
    assert int(answered[1]) > 100  # of 200, with the container's death in their midst
    assert "Endpoint status: InService" in told
    assert "; 0 containers are left." in told
    assert engine.containers() == []
