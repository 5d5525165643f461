"""Images that modelplex does not run itself: whom control asks, and what it makes of the answer."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from modelplex.control.outside import outside
from modelplex.http.messages import Request, Response
from modelplex.http.server import serve
from modelplex.images.catalogue import EngineOff, EngineSilent
from modelplex.settings import Settings
from tests.control.world import ROLE, world

IMAGE_ID = "sha256:" + "1" * 64
VERSION = {"Version": "28.0", "ApiVersion": "1.48", "MinAPIVersion": "1.24"}


async def _answer(request: Request) -> Response:
    """As an engine that has one image."""
    path = request.path.decode()
    if path.endswith("/version"):
        return Response(200, [], json.dumps(VERSION).encode())
    if path.endswith("/images/me/demo:1/json"):
        found = {"Id": IMAGE_ID, "Config": {"Labels": {}}, "Size": 1, "Os": "linux"}
        return Response(200, [], json.dumps(found).encode())
    return Response(404, [], b'{"message": "No such image"}')


@asynccontextmanager
async def engine() -> AsyncIterator[str]:
    """The URL of an engine's socket."""
    with tempfile.TemporaryDirectory(prefix="mp-") as folder:
        url = f"unix://{folder}/engine.sock"
        server = await serve(_answer, f"unix:{folder}/engine.sock")
        try:
            yield url
        finally:
            await server.close(0.0)


@pytest.mark.parametrize(
    ("setting", "error", "complaint"),
    [
        ("off", EngineOff, "switched off"),
        ("unix:///nowhere.sock", EngineSilent, "No container engine at unix:///nowhere"),
    ],
)
async def test_without_an_engine_it_is_said_why(
    tmp_path: Path, setting: str, error: type[EngineSilent], complaint: str
) -> None:
    """Whoever names such an image reads it."""
    with pytest.raises(error, match=complaint):
        await outside(Settings(data=tmp_path, container_engine=setting)).engine("demo:1")


async def test_without_a_registry_nothing_is_in_it(tmp_path: Path) -> None:
    """Nor in an empty one."""
    image = "123456789012.dkr.ecr.us-west-2.amazonaws.com/demo:1"
    for registry in (False, True):
        asked = outside(Settings(data=tmp_path, registry=registry))
        assert await asked.registry(image) == ""


async def test_an_engines_image_reaches_the_instance() -> None:
    """Pinned by its id, kept from the network if the model asks for that; and described so."""
    async with engine() as url, world(container_engine=url) as w:
        container = {"Image": "me/demo:1", "Mode": "MultiModel", "ModelDataUrl": "s3://bkt/x/"}
        members = {"PrimaryContainer": container, "ExecutionRoleArn": ROLE}
        await w.sm("create_model", ModelName="m", EnableNetworkIsolation=True, **members)
        await w.config("c", "m", ContainerStartupHealthCheckTimeoutInSeconds=77)
        await w.sm("create_endpoint", EndpointName="e", EndpointConfigName="c")
        found = await w.until("e", "InService")
        (shown,) = found["ProductionVariants"][0]["DeployedImages"]
        assert shown["SpecifiedImage"] == "me/demo:1"
        assert shown["ResolvedImage"] == f"me/demo@{IMAGE_ID}"
        (fake,) = w.provider.fakes.values()
        image = fake.spec["image"]
        assert (image["kind"], image["reference"], image["engine"]) == ("oci", IMAGE_ID, url)
        assert image["isolated"]
        assert image["needs_label"]
        assert fake.spec["health_timeout_s"] == 77
        with pytest.raises(ClientError, match=r"me/other:1 not found.*Neither the container"):
            await w.model("n", Image="me/other:1")
