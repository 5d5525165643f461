"""Images in a registry's folder, as docker-registry would have written them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

CONFIG = "application/vnd.docker.container.image.v1+json"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def manifest(size: int = 100) -> dict[str, Any]:
    """A manifest of an image with one layer of that many bytes."""
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "size": 7, "digest": "sha256:" + "c" * 64},
        "layers": [{"mediaType": "application/x", "size": size, "digest": "sha256:" + "d" * 64}],
    }


def push(root: Path, repository: str, document: dict[str, Any], *tags: str) -> str:
    """Put an image there; its digest."""
    data = json.dumps(document).encode()
    hexadecimal = hashlib.sha256(data).hexdigest()
    digest = f"sha256:{hexadecimal}"
    base = root / "docker" / "registry" / "v2"
    manifests = base / "repositories" / repository / "_manifests"
    _write(base / "blobs" / "sha256" / hexadecimal[:2] / hexadecimal / "data", data)
    _write(manifests / "revisions" / "sha256" / hexadecimal / "link", digest.encode())
    for tag in tags:
        _write(manifests / "tags" / tag / "current" / "link", digest.encode())
        _write(manifests / "tags" / tag / "index" / "sha256" / hexadecimal / "link", b"")
    return digest


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
