"""Which names mean images of our registry."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from modelplex.ecr import lookup, names
from modelplex.ecr.names import Place
from modelplex.settings import Settings
from tests.ecr import layout

ON = Settings(registry=True, registry_port=5000)
ECR = "123456789012.dkr.ecr.us-west-2.amazonaws.com"
DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("image", "local"),
    [
        (f"{ECR}/demo", "127.0.0.1:5000/demo:latest"),
        (f"{ECR}/team/demo:v1.2", "127.0.0.1:5000/team/demo:v1.2"),
        (f"{ECR}/demo@{DIGEST}", f"127.0.0.1:5000/demo@{DIGEST}"),
        (f"{ECR}/demo:v1@{DIGEST}", f"127.0.0.1:5000/demo@{DIGEST}"),
        (ECR.replace("us-west-2", "eu-central-1") + "/demo", "127.0.0.1:5000/demo:latest"),
        ("127.0.0.1:5000/demo:v1", "127.0.0.1:5000/demo:v1"),
        ("localhost:5000/demo", "127.0.0.1:5000/demo:latest"),
        (ECR.replace("1234", "9999") + "/demo", None),
        ("127.0.0.1:5001/demo", None),
        ("registry.example.org/demo", None),
        ("demo", None),
        ("team/demo", None),
        (f"{ECR}/Demo", None),
        (f"{ECR}/demo:", None),
        (f"{ECR}/../demo", None),
        (f"{ECR}/", None),
        ("", None),
    ],
)
def test_names_of_our_registry(image: str, local: str | None) -> None:
    """ECR's of our account, and those with our own address."""
    assert names.local(ON, image) == local
    assert names.local(replace(ON, registry=False), image) is None


def test_the_address_is_one_that_can_be_reached() -> None:
    """Whatever the platform listens on."""
    assert names.address(replace(ON, host="0.0.0.0")) == "127.0.0.1:5000"
    assert names.address(replace(ON, host="::")) == "[::1]:5000"
    assert names.address(replace(ON, host="10.1.2.3")) == "10.1.2.3:5000"
    assert names.place(replace(ON, host="::"), "[::1]:5000/demo") == Place("demo", "latest")


def test_a_digest_is_found_by_any_of_the_names(tmp_path: Path) -> None:
    """None for an image that is not there."""
    settings = replace(ON, data=tmp_path)
    digest = layout.push(tmp_path / "registry", "demo", layout.manifest(), "v1")
    for image in (f"{ECR}/demo:v1", "localhost:5000/demo:v1", f"{ECR}/demo@{digest}"):
        assert asyncio.run(lookup.digest(settings, image)) == digest
    for image in (f"{ECR}/demo:v2", f"{ECR}/other:v1", f"{ECR}/demo@{DIGEST}", "demo:v1"):
        assert asyncio.run(lookup.digest(settings, image)) is None
