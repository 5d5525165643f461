"""The document an instance is started with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelplex.instance.spec import SpecError, parse, read
from modelplex.settings import Settings


@pytest.fixture
def document() -> dict[str, Any]:
    """A whole spec."""
    words = ("id", "endpoint", "variant", "account", "region", "log_group", "log_stream")
    return {
        **dict.fromkeys(words, "x"),
        **dict.fromkeys(("socket", "folder", "log_folder"), "/data/x"),
        "image": {"name": "e", "folder": "/i", "python": "/p", "handler": "h.py", "preload": ["m"]},
        "environment": {"A": "1"},
        "mode": "MultiModel",
        "cache": "Disabled",
        "model_data_url": "s3://b/p/",
        "memory_bytes": 1,
        "disk_bytes": 2,
        "vcpus": 2.9,
        "s3": {"endpoint": "http://e", "region": "r", "access_key": "a", "secret_key": "s"},
        "file_roots": ["/models"],
        "limits": Settings().as_document(),
    }


def test_a_spec_is_read(document: dict[str, Any]) -> None:
    """Every member finds its place."""
    spec = parse(document)
    assert (spec.multi_model, spec.cached, spec.loads_max) == (True, False, 2)
    assert spec.image.preload == ("m",)
    assert spec.file_roots == (Path("/models"),)
    assert spec.limits == Settings()


def test_the_environment_is_sagemakers_and_the_users_over_it(document: dict[str, Any]) -> None:
    """Thread counts follow the vCPUs unless the user says otherwise; TMPDIR is private."""
    document["environment"] = {"MKL_NUM_THREADS": "7", "TMPDIR": "/elsewhere"}
    environment = parse(document).container_environment()
    assert environment["OMP_NUM_THREADS"] == "2"
    assert environment["MKL_NUM_THREADS"] == "7"
    assert environment["SAGEMAKER_MULTI_MODEL"] == "true"
    assert environment["TMPDIR"] == "/data/x/tmp"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "Triple"}, "mode must be MultiModel or SingleModel, not 'Triple'"),
        ({"memory_bytes": "much"}, "impossible value"),
        ({"limits": {"no_such": 1}}, "no_such in limits of the spec"),
        ({"s3": {"endpoint": "x"}}, "impossible value"),
    ],
)
def test_a_wrong_member_is_named(
    document: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    """The message says which one."""
    with pytest.raises(SpecError, match=message):
        parse(document | change)


def test_a_missing_member_is_named(document: dict[str, Any]) -> None:
    """As the process says it at its start."""
    del document["image"]["handler"]
    with pytest.raises(SpecError, match="lacks the member 'handler'"):
        parse(document)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    """No file, or no JSON in it."""
    with pytest.raises(SpecError, match="is no readable spec"):
        read(tmp_path / "none.json")
