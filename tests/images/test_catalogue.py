"""What a name in CreateModel means, and who is asked for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from modelplex.images import builtin_images, catalogue
from modelplex.images.catalogue import (
    Catalogue,
    EngineOff,
    EngineSilent,
    Named,
    NotFound,
    Outside,
)
from tests.images.conftest import Images, MakeFolder

OWN = "123456789012.dkr.ecr.us-west-2.amazonaws.com/"
AWS = "683313688378.dkr.ecr.us-east-1.amazonaws.com/"
IMAGE_ID, DIGEST = "sha256:" + "1" * 64, "sha256:" + "d" * 64


@dataclass
class World:
    """What the engine and the registry have."""

    engine: dict[str, str] = field(default_factory=dict)
    registry: dict[str, str] = field(default_factory=dict)
    silent: EngineSilent | None = None

    async def find(self, name: str) -> str:
        if self.silent:
            raise self.silent
        return self.engine.get(name, "")

    async def digest(self, name: str) -> str:
        return self.registry.get(name, "")


@pytest.fixture
def outer() -> World:
    return World()


@pytest.fixture
def named(images: Images, outer: World) -> Catalogue:
    return Catalogue(images.store, Outside("123456789012", outer.find, outer.digest))


async def test_built_images_come_first(
    images: Images, make_folder: MakeFolder, named: Catalogue, outer: World
) -> None:
    """By any spelling, and before AWS's image or the engine's of the same name."""
    built = images.build(make_folder(), "sagemaker-xgboost:1.7-1").image
    outer.engine = {"sagemaker-xgboost:1.7-1": IMAGE_ID}
    for host in ("", OWN, AWS):
        found = await named.resolve(host + "sagemaker-xgboost:1.7-1")
        assert found == Named("handler", "sagemaker-xgboost:1.7-1", built.hash)


async def test_built_in_images_are_known_before_they_are_built(named: Catalogue) -> None:
    """By the hash that they will have."""
    python = Named("handler", "modelplex/python:latest", builtin_images.digest("python"))
    assert await named.resolve("modelplex/python") == python
    assert await named.resolve("modelplex/python:latest") == python
    assert python.resolved == f"modelplex/python@sha256:{python.hash}"
    for image in ("modelplex/nothing", "modelplex/python:2"):
        with pytest.raises(NotFound, match=r"The built-in images are .*modelplex/python"):
            await named.resolve(image)


async def test_images_of_the_engine_are_pinned(named: Catalogue, outer: World) -> None:
    """By id: a tag may move, what an endpoint runs does not."""
    outer.engine = {"me/demo:2": IMAGE_ID, OWN + "demo:3": IMAGE_ID}
    found = await named.resolve("me/demo:2")
    assert found == Named("oci", "me/demo:2", reference=IMAGE_ID)
    assert found.resolved == f"me/demo@{IMAGE_ID}"
    assert (await named.resolve(OWN + "demo:3")).reference == IMAGE_ID


async def test_images_of_our_registry_are_pinned(named: Catalogue, outer: World) -> None:
    """By digest, under the name that they were given; AWS's repositories are not ours."""
    outer.registry = {OWN + "xgboost:1": DIGEST}
    found = await named.resolve(OWN + "xgboost:1")
    assert found == Named("oci", OWN + "xgboost:1", reference=f"{OWN}xgboost@{DIGEST}")
    assert found.resolved == found.reference


@pytest.mark.parametrize("image", ["ghcr.io/a/b:1", "localhost/a", "127.0.0.1:5000/a/b"])
async def test_images_of_other_registries_are_taken_at_their_word(
    named: Catalogue, image: str
) -> None:
    """They are pulled when an instance starts."""
    assert await named.resolve(image) == Named("oci", image, reference=image)


@pytest.mark.parametrize("image", ["nowhere:1", "a/b", OWN + "demo:1", "Demo"])
async def test_what_nobody_has_is_not_found(named: Catalogue, image: str) -> None:
    """Short names mean no public registry, and ours would have what was pushed to it."""
    with pytest.raises(NotFound, match="Neither the container engine nor a registry has it"):
        await named.resolve(image)


async def test_a_silent_engine_may_be_there_when_an_instance_starts(
    named: Catalogue, outer: World
) -> None:
    """What has a registry is believed; of a short name nobody knows what it means."""
    outer.silent = EngineSilent("No container engine at unix:///x.")
    outer.registry[OWN + "demo:1"] = DIGEST
    assert (await named.resolve("ghcr.io/a/b:1")).reference == "ghcr.io/a/b:1"
    assert (await named.resolve(OWN + "demo:1")).reference == f"{OWN}demo@{DIGEST}"
    with pytest.raises(NotFound, match=r"modelplex build.*No container engine at unix:///x\."):
        await named.resolve("demo:1")


async def test_without_an_engine_no_container_is_found(named: Catalogue, outer: World) -> None:
    """Whoever switched it off wants none later either."""
    outer.silent = EngineOff("Container images are switched off.")
    with pytest.raises(NotFound, match=r"modelplex build.*switched off"):
        await named.resolve("ghcr.io/a/b:1")


@pytest.mark.parametrize(
    ("document", "value"),
    [
        ({"Name": "a:1", "Hash": "h"}, Named("handler", "a:1", "h")),
        ({"Kind": "command", "Name": "a:1", "Hash": "h"}, Named("command", "a:1", "h")),
        ({"Kind": "oci", "Name": "a", "Reference": "r"}, Named("oci", "a", reference="r")),
    ],
)
def test_records_keep_what_was_resolved(document: Mapping[str, str], value: Named) -> None:
    """Older ones know handlers only and do not say so."""
    assert catalogue.read(document) == value
    assert value.document() == {"Kind": "handler", **document}


@pytest.mark.parametrize(
    ("image", "name"),
    [("a", "a"), ("a:1", "a"), ("h:5000/a/b:1", "h:5000/a/b"), ("h:5/a@sha256:1", "h:5/a")],
)
def test_names_without_tags(image: str, name: str) -> None:
    """A port is no tag."""
    assert catalogue.without_tag(image) == name
