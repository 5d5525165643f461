"""Built-in images are built when an endpoint needs them, once, and whoever waits is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from modelplex.control.builds import Builds
from modelplex.control.provider import CannotStart
from modelplex.images import builtin_images
from modelplex.images.catalogue import Named
from modelplex.images.store import ImageStore
from tests.control.world import World, make_image, until, world
from tests.support.processes import processes_of

DIGEST = builtin_images.digest("python")


@pytest.fixture
async def w() -> AsyncIterator[World]:
    """With a model `m` of the image modelplex/python, which is not built."""
    async with world() as found:
        await found.model("m", Image="modelplex/python")
        await found.config("c", "m")
        yield found


async def create(w: World, name: str) -> None:
    await w.sm("create_endpoint", EndpointName=name, EndpointConfigName="c")


async def building(w: World, name: str) -> list[dict[str, object]]:
    return (await w.doors("GET", f"/modelplex/endpoints/{name}/builds"))[1]["builds"]  # type: ignore[no-any-return]


async def built_for(w: World, *names: str) -> dict[str, object]:
    """The one build that these endpoints wait for, once it has said what it does."""
    async with asyncio.timeout(30):
        while True:
            _, status = await w.doors("GET", "/modelplex/status")
            for build in status["builds"]:
                if build["endpoints"] == list(names) and build["step"] == "requirements":
                    assert len(status["builds"]) == 1
                    return dict(build)
            await asyncio.sleep(0.01)


def finish(w: World, word: str) -> None:
    """Let the build go on to its end."""
    if word == "build":
        make_image(w.data, "other", "2" * 64)
        (w.data / "images" / ("2" * 64)).rename(w.data / "made")
    (w.data / f"order-{word}-{DIGEST}").touch()


def gone(w: World) -> Callable[[], bool]:
    return lambda: not processes_of(w.data)


async def test_one_build_for_all_who_wait(w: World) -> None:
    """Its steps can be seen and are in each endpoint's log; then all come into service."""
    await create(w, "a")
    await built_for(w, "a")
    await create(w, "b")
    build = await built_for(w, "a", "b")
    assert (build["image"], build["detail"]) == ("modelplex/python:latest", "Collecting python")
    assert (await building(w, "a"))[0]["step"] == "requirements"
    assert w.provider.starts == []
    finish(w, "build")
    for name in ("a", "b"):
        found = await w.until(name, "InService")
        (image,) = found["ProductionVariants"][0]["DeployedImages"]
        assert image["SpecifiedImage"] == "modelplex/python"
        assert image["ResolvedImage"] == f"modelplex/python@sha256:{DIGEST}"
        events = await w.aws(
            "logs",
            "get_log_events",
            logGroupName=f"/aws/sagemaker/Endpoints/{name}",
            logStreamName="build",
        )
        lines = [event["message"] for event in events["events"]]
        assert lines[-1] == f"modelplex/python:latest: built: {DIGEST}"
    assert await building(w, "a") == []


async def test_a_build_that_fails_fails_the_endpoint_at_once(w: World) -> None:
    """With what pip said last."""
    await create(w, "e")
    finish(w, "fail")
    found = await w.until("e", "Failed")
    assert found["FailureReason"].endswith(
        "could not start: The image modelplex/python:latest could not be built: "
        "pip install failed: no such thing"
    )
    assert w.provider.starts == []


async def test_a_build_that_nobody_waits_for_is_ended(w: World) -> None:
    """The endpoint is deleted meanwhile: no process is left, and nothing holds the deletion up."""
    await create(w, "e")
    await built_for(w, "e")
    assert processes_of(w.data)
    await w.sm("delete_endpoint", EndpointName="e")
    await until(gone(w))
    await until(lambda: "e" not in (w.control.snapshots.endpoints or {}))


async def test_a_build_ends_with_control(w: World) -> None:
    """And is begun again by the next one, which also finds endpoints whose image is gone."""
    await create(w, "e")
    await built_for(w, "e")
    await w.stop_control()
    assert gone(w)()
    finish(w, "build")
    w.start_control()
    await w.until("e", "InService")
    (instance,) = w.provider.processes
    await w.stop_control()
    await w.provider.kill(instance)
    (w.data / "images" / DIGEST).rename(w.data / "made")
    w.start_control()
    await until(lambda: instance in w.provider.fakes)
    assert (w.data / "images" / DIGEST).is_dir()


async def test_a_build_that_ends_without_a_word_has_failed(w: World) -> None:
    """As where somebody killed it."""
    await create(w, "e")
    finish(w, "exit")
    found = await w.until("e", "Failed")
    assert "its process ended with status 1" in found["FailureReason"]


async def test_only_what_an_endpoint_was_made_with_is_built(tmp_path: Path) -> None:
    """Other versions of our own are not, and users' and engines' images are not ours."""
    builds = Builds(tmp_path, ImageStore(tmp_path / "images"), ["false"])
    with pytest.raises(CannotStart, match="modelplex has another one"):
        await builds.ensure(Named("handler", "modelplex/python:latest", "0" * 24), "e")
    await builds.ensure(Named("handler", "demo:latest", "0" * 24), "e")
    await builds.ensure(Named("oci", "ghcr.io/a/b", reference="ghcr.io/a/b"), "e")
