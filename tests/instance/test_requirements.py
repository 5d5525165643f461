"""Models with a `code/requirements.txt` on an instance: each has what it asked for."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.instance.conftest import StartInstance
from tests.instance.running import Running
from tests.support.models import make_image
from tests.support.processes import processes_of
from tests.support.wheels import make_wheel

HANDLER = """
def handle(data, context):
    try:
        from toys import VERSION
    except ImportError:
        VERSION = "none"
    return None if data is None else [VERSION for _ in data]
"""
# A package whose build does not end by itself, and needs nothing.
ENDLESS = {
    "code/requirements.txt": "./endless\n",
    "code/endless/pyproject.toml": (
        '[build-system]\nrequires = []\nbuild-backend = "endless"\nbackend-path = ["."]\n'
    ),
    "code/endless/endless.py": "import time\ntime.sleep(600)\n",
}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A handler that tells which version of `toys` it has; the image itself has none."""
    return make_image(tmp_path_factory.mktemp("image"), HANDLER)


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """Two versions of `toys`."""
    folder = tmp_path / "wheels"
    for version in ("1.0", "2.0"):
        make_wheel(folder, "toys", version)
    return folder


def variables(wheels: Path) -> dict[str, str]:
    """What leads pip there and nowhere else, as a model's `Environment` says it."""
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}


def put(running: Running, model: str, requirements: str) -> None:
    files: dict[str, Any] = {"code/requirements.txt": requirements}
    running.put(model, **files)


async def test_models_with_different_versions(start_instance: StartInstance, wheels: Path) -> None:
    """Side by side, beside one without; and after a restart, from what was installed before."""
    running = await start_instance(environment=variables(wheels)).healthy()
    expected = {"one": b"1.0", "two": b"2.0", "none": b"none"}
    for model in ("one", "two"):
        put(running, model, f"toys=={expected[model].decode()}\n")
    running.put("none")
    for _ in range(2):
        for model, version in expected.items():
            reply = await running.invoke(model)
            assert (reply.status, reply.body) == (200, version), reply
    environments = running.home / "instance" / "environments"
    before = {path.name for path in environments.iterdir()}
    await running.leave()
    assert running.stop() == 0
    shutil.rmtree(wheels)
    running.start()
    await running.healthy()
    assert (await running.invoke("two")).body == b"2.0"
    assert {path.name for path in environments.iterdir()} == before


async def test_what_cannot_be_installed(start_instance: StartInstance, wheels: Path) -> None:
    """The client gets pip's reason as a ModelError, whatever pip said before, each time."""
    nowhere = " ".join(f"{wheels}/{number}{'x' * 200}" for number in range(30))
    environment = {**variables(wheels), "PIP_FIND_LINKS": f"{wheels} {nowhere}"}
    running = await start_instance(environment=environment).healthy()
    put(running, "bad", "toys==3.0\n")
    for _ in range(2):
        reply = await running.invoke("bad")
        assert (reply.status, reply.error) == (424, "ModelError")
        assert "No matching distribution found for toys==3.0" in reply.document["OriginalMessage"]
        assert "… " in reply.document["OriginalMessage"]
        assert reply.document["OriginalStatusCode"] == 500


async def test_an_installation_that_does_not_end(
    start_instance: StartInstance, wheels: Path
) -> None:
    """Is a failed load when its time is over; what still builds ends with the instance."""
    limits = {"model_load_timeout_s": 2.0}
    running = await start_instance(environment=variables(wheels), limits=limits).healthy()
    files: dict[str, Any] = ENDLESS
    running.put("endless", **files)
    reply = await running.invoke("endless")
    assert (reply.status, reply.error) == (424, "ModelError"), reply
    assert "not loaded within 2 seconds" in reply.document["OriginalMessage"]
    assert running.stop() == 0


async def test_an_installation_dies_with_its_instance(
    start_instance: StartInstance, wheels: Path
) -> None:
    """Even when that is killed: nothing goes on writing where the next one builds."""
    running = await start_instance(environment=variables(wheels)).healthy()
    files: dict[str, Any] = ENDLESS
    running.put("endless", **files)
    asked = asyncio.create_task(running.invoke("endless"))

    async def builds() -> bool:
        return any("_in_process" in argv for argv in processes_of(running.home).values())

    await running.until(builds)
    running.kill()
    running.expect_gone()
    await asyncio.gather(asked, return_exceptions=True)
