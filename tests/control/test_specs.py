"""What an instance is told: from a built image to what the instance reads."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelplex.control.deployments import Deployment, Variant
from modelplex.control.provider import ProviderFailed
from modelplex.control.records import Kind, Record
from modelplex.control.specs import Specs
from modelplex.ecr import tokens
from modelplex.images.catalogue import Named
from modelplex.images.store import ImageStore
from modelplex.instance.spec import Spec, parse
from modelplex.settings import Settings
from tests.control.world import make_image

DIGEST = "0" * 64
VARIANT = Variant(
    name="AllTraffic",
    instances=("i-1",),
    startup_timeout_s=60.0,
    weight=1.0,
    instance_type="ml.m5.xlarge",
    multi_model=True,
    cache="Enabled",
    model_data_url="s3://bucket/models/",
    environment={},
    specified_image="echo",
    image=Named("handler", "echo:latest", DIGEST),
    isolated=False,
    health_timeout_s=60.0,
    load_timeout_s=60.0,
)


@pytest.fixture
def specs(tmp_path: Path) -> Specs:
    """Over a data folder with the image `echo`."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "s3.json").write_text('{"address": "tcp:127.0.0.1:9"}')
    make_image(tmp_path)
    settings = Settings(
        data=tmp_path,
        memory_mib=4096,
        disk_mib=4096,
        secret_key="secret-key",
        registry=True,
        container_engine="unix:///engine.sock",
    )
    return Specs(settings, ImageStore(tmp_path / "images"))


def read(specs: Specs) -> Spec:
    """As the instance reads it."""
    return parse(document(specs, VARIANT))


def document(specs: Specs, variant: Variant) -> dict[str, Any]:
    """What the instance is told."""
    record = Record(Kind.ENDPOINT, "e", "arn:e", {}, 1.0, 1.0, "Creating")
    deployment = Deployment("e", "Creating", (variant,), record)
    return specs.document(deployment, variant, "i-1")


def test_an_image_that_says_nothing_has_a_process_per_model(specs: Specs) -> None:
    """And copies of one model share what they can."""
    spec = read(specs)
    assert (spec.models_per_worker, spec.shares_identical) == (1, True)


def test_what_an_image_allows_reaches_its_instances(specs: Specs) -> None:
    """How many models share a process, and whether copies do."""
    path = specs.images.root / DIGEST / "image.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "models_per_worker": 7, "share_identical": False}))
    spec = read(specs)
    assert (spec.models_per_worker, spec.shares_identical) == (7, False)


def test_an_image_that_is_gone_is_named(specs: Specs) -> None:
    """With what to do about it."""
    (specs.images.root / DIGEST / "image.json").unlink()
    with pytest.raises(ProviderFailed, match=r"echo:latest .* Build it again"):
        read(specs)


def test_a_command_is_told_with_its_environment(specs: Specs) -> None:
    """And nothing of what only handlers have."""
    path = specs.images.root / DIGEST / "image.json"
    old = json.loads(path.read_text())
    path.write_text(json.dumps({**old, "handler": "", "command": ["serve", "-x"]}))
    image = document(specs, VARIANT)["image"]
    assert image == {
        "kind": "command",
        "name": "echo:latest",
        "folder": str(specs.images.root / DIGEST / "code"),
        "python": str(specs.images.root / DIGEST / "env" / "bin" / "python"),
        "command": ["serve", "-x"],
    }


def test_a_handler_is_told_all_that_its_image_says(specs: Specs) -> None:
    """What it has to do with batches and preparation too."""
    path = specs.images.root / DIGEST / "image.json"
    old = json.loads(path.read_text())
    path.write_text(json.dumps({**old, "batch_max": 8, "prepare": "a.py:b"}))
    told = document(specs, VARIANT)
    assert told["image"]["kind"] == "handler"
    assert (told["image"]["batch_max"], told["image"]["prepare"]) == (8, "a.py:b")
    assert told["health_timeout_s"] == 60.0


def test_an_engines_image_is_told_by_its_reference(specs: Specs) -> None:
    """With the engine's address, and a password where it is our own registry's."""
    image = Named("oci", "ghcr.io/a/b:1", reference="ghcr.io/a/b:1")
    told = document(specs, replace(VARIANT, image=image, isolated=True))["image"]
    assert told == {
        "kind": "oci",
        "name": "ghcr.io/a/b:1",
        "reference": "ghcr.io/a/b:1",
        "engine": "unix:///engine.sock",
        "pull": False,
        "credentials": None,
        "isolated": True,
        "needs_label": True,
    }
    ecr, digest = "123456789012.dkr.ecr.us-west-2.amazonaws.com/demo", "sha256:" + "a" * 64
    image = Named("oci", f"{ecr}:latest", reference=f"{ecr}@{digest}")
    told = document(specs, replace(VARIANT, image=image, multi_model=False))["image"]
    assert told["reference"] == f"127.0.0.1:8322/demo@{digest}"
    assert told["credentials"]["username"] == "AWS"
    assert tokens.check("secret-key", told["credentials"]["password"], time.time())
    assert told["needs_label"] is False
