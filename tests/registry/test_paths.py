"""What a path of the registry's API is about."""

from __future__ import annotations

import pytest

from modelplex.registry.paths import Asked, read

DIGEST = b"sha256:" + b"0" * 64


@pytest.mark.parametrize(
    ("method", "path", "asked"),
    [
        ("GET", b"/v2/", Asked("")),
        ("GET", b"/v2", Asked("")),
        ("GET", b"/v2/_catalog", Asked("")),
        ("GET", b"/v2/demo/tags/list", Asked("demo")),
        ("PUT", b"/v2/demo/manifests/v1", Asked("demo", "v1")),
        ("GET", b"/v2/demo/manifests/v1", Asked("demo")),
        ("PUT", b"/v2/demo/manifests/" + DIGEST, Asked("demo")),
        ("HEAD", b"/v2/team/x-y/blobs/" + DIGEST, Asked("team/x-y")),
        ("POST", b"/v2/a/b/c/blobs/uploads/", Asked("a/b/c")),
        ("PATCH", b"/v2/demo/blobs/uploads/0a-1b", Asked("demo")),
        ("POST", b"/v2/manifests/blobs/blobs/uploads/", Asked("manifests/blobs")),
        ("GET", b"/v2/../secret/tags/list", None),
        ("GET", b"/v2/de%6do/tags/list", None),
        ("GET", b"/v2/demo/manifests/../../x", None),
        ("GET", b"/v2/demo", None),
        ("GET", b"/debug/vars", None),
        ("GET", b"/", None),
    ],
)
def test_paths(method: str, path: bytes, asked: Asked | None) -> None:
    """Names are told as the registry itself tells them; any other path is nobody's."""
    assert read(method, path) == asked
