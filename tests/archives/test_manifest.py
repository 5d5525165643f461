"""A model archive's manifest is found, checked and written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from modelplex.archives.manifest import Manifest, find, text
from modelplex.archives.tree import Refused


def put(folder: Path, content: Any) -> Path:
    """A folder with this manifest."""
    (folder / "MAR-INF").mkdir(parents=True)
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    (folder / "MAR-INF/MANIFEST.json").write_bytes(data)
    return folder


def test_what_the_archiver_writes_is_read(tmp_path: Path) -> None:
    """Name, handler and runtime come back."""
    put(tmp_path, text("resnet-18", "service:handle", "python3").encode())
    expected = Manifest(model_name="resnet-18", handler="service:handle", runtime="python3")
    assert find(tmp_path) == (tmp_path, expected)


def test_a_version_and_an_engine_are_read(tmp_path: Path) -> None:
    """A version may be a number, as other tools write it."""
    model = {"modelName": "m", "modelVersion": 1.5, "handler": "h", "extensions": {"a": 1}}
    put(tmp_path, {"model": model, "engine": {"engineName": "MXNet"}})
    assert find(tmp_path)[1] == Manifest("m", "1.5", "h", "python", "MXNet")


def test_a_folder_without_a_manifest_has_an_empty_one(tmp_path: Path) -> None:
    """Also where something else has its name."""
    assert find(tmp_path) == (tmp_path, Manifest())
    (tmp_path / "MAR-INF").mkdir()
    os.mkfifo(tmp_path / "MAR-INF/MANIFEST.json")
    assert find(tmp_path) == (tmp_path, Manifest())


def test_a_model_may_lie_one_folder_deeper(tmp_path: Path) -> None:
    """As `--archive-format tgz` packs it; but only if that is all there is."""
    inner = put(tmp_path / "m", {"model": {"modelName": "m"}})
    assert find(tmp_path)[0] == inner
    (tmp_path / "other").mkdir()
    assert find(tmp_path) == (tmp_path, Manifest())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "no JSON"),
        (b"\xff\xfe\xff", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        ([], "object belongs"),
        ({"model": None}, "null for model"),
        ({"model": {"handler": ["h"]}}, "for handler, where a text"),
        ({"model": {"modelName": True}}, "for modelName, where a text"),
        ({"runtime": "java"}, "runtime 'java'"),
        ({"engine": {}}, "engine without"),
        (b" " * 1_048_577, "longer than"),
    ],
)
def test_a_bad_manifest_is_refused(tmp_path: Path, content: Any, reason: str) -> None:
    """With what is wrong and where."""
    with pytest.raises(Refused, match=reason):
        find(put(tmp_path, content))
