"""What an instance is told: from a built image to what the instance reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelplex.control.deployments import Deployment, Variant
from modelplex.control.provider import ProviderFailed
from modelplex.control.records import Kind, Record
from modelplex.control.specs import Specs
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
    image="echo",
    image_name="echo:latest",
    image_hash=DIGEST,
    load_timeout_s=60.0,
)


@pytest.fixture
def specs(tmp_path: Path) -> Specs:
    """Over a data folder with the image `echo`."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "s3.json").write_text('{"address": "tcp:127.0.0.1:9"}')
    make_image(tmp_path)
    settings = Settings(data=tmp_path, memory_mib=4096, disk_mib=4096)
    return Specs(settings, ImageStore(tmp_path / "images"))


def read(specs: Specs) -> Spec:
    """As the instance reads it."""
    record = Record(Kind.ENDPOINT, "e", "arn:e", {}, 1.0, 1.0, "Creating")
    deployment = Deployment("e", "Creating", (VARIANT,), record)
    return parse(specs.document(deployment, VARIANT, "i-1"))


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
