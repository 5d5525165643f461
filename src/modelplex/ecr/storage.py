"""What our registry has on its disk: repositories, tags, manifests.

This is the file layout of the distribution project's registry, the same in its versions 2 and 3
(described in its `registry/storage/paths.go`). It is read here, and deleted from, because the
registry's own API cannot list images without a tag, tell when one was pushed, delete a tag or
delete a repository. All functions read files: call them in a thread where waiting matters.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MANIFEST_BYTES_MAX = 4 * 1024 * 1024  # the registry's own limit
_ROOT = Path("docker", "registry", "v2")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")  # of the reference grammar


@dataclass(frozen=True, slots=True)
class Stored:
    """One image of a repository: a manifest, its tags in order, and when it was pushed."""

    digest: str
    tags: tuple[str, ...]
    pushed_at: float  # Unix seconds


class Shelf:
    """One repository under the registry's folder; one that nothing was pushed to is empty."""

    def __init__(self, root: Path, repository: str) -> None:
        self._blobs = root / _ROOT / "blobs" / "sha256"
        self._folder = root / _ROOT / "repositories" / repository
        self._manifests = self._folder / "_manifests"

    def images(self) -> list[Stored]:
        """All images, tagged or not, by digest."""
        by_digest: dict[str, list[str]] = {}
        for tag, digest in self._tags():
            by_digest.setdefault(digest, []).append(tag)
        return [
            Stored(digest, tuple(by_digest.get(digest, ())), pushed_at)
            for digest, pushed_at in self._revisions()
        ]

    def resolve(self, reference: str) -> str | None:
        """The digest that a tag or digest stands for, None if there is no such image."""
        if not _DIGEST.fullmatch(reference) and not _TAG.fullmatch(reference):
            return None
        digest = reference if _DIGEST.fullmatch(reference) else self._tagged(reference)
        return digest if digest and _read_link(self._revision(digest)) else None

    def manifest(self, digest: str) -> str:
        """A manifest's text, as it was pushed. Raises FileNotFoundError."""
        hexadecimal = digest.removeprefix("sha256:")
        path = self._blobs / hexadecimal[:2] / hexadecimal / "data"
        with path.open("rb") as file:
            return file.read(MANIFEST_BYTES_MAX).decode("utf-8", "replace")

    def document(self, digest: str) -> dict[str, Any]:
        """A manifest as a document, {} for one that is not here: of another platform, say."""
        try:
            return parse(self.manifest(digest))
        except FileNotFoundError:
            return {}

    def untag(self, tag: str) -> None:
        """Takes a tag away that `images` told of; the image stays."""
        shutil.rmtree(self._manifests / "tags" / tag, ignore_errors=True)

    def delete(self, digest: str) -> None:
        """Takes an image away with its tags; its blobs stay until garbage is collected."""
        for tag, tagged in list(self._tags()):
            if tagged == digest:
                self.untag(tag)
        shutil.rmtree(self._revision(digest).parent, ignore_errors=True)

    def clear(self) -> None:
        """Takes everything away, uploads too, but not the repositories below this one's name."""
        for part in ("_manifests", "_layers", "_uploads"):
            shutil.rmtree(self._folder / part, ignore_errors=True)

    def _tagged(self, tag: str) -> str | None:
        return _read_link(self._manifests / "tags" / tag / "current" / "link")

    def _tags(self) -> Iterator[tuple[str, str]]:
        for folder in _listed(self._manifests / "tags"):
            if digest := self._tagged(folder.name):
                yield folder.name, digest

    def _revision(self, digest: str) -> Path:
        return self._manifests / "revisions" / "sha256" / digest.removeprefix("sha256:") / "link"

    def _revisions(self) -> Iterator[tuple[str, float]]:
        for folder in _listed(self._manifests / "revisions" / "sha256"):
            link = folder / "link"
            if digest := _read_link(link):
                yield digest, link.stat().st_mtime


def size_bytes(manifest: dict[str, Any]) -> int:
    """The packed size of an image with its configuration; 0 for a list of manifests."""
    parts = [manifest.get("config", {}), *manifest.get("layers", [])]
    return sum(int(part.get("size", 0)) for part in parts)


def parse(manifest: str) -> dict[str, Any]:
    """A manifest as a document, {} for what is none."""
    try:
        found = json.loads(manifest)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def _read_link(path: Path) -> str | None:
    """The digest in a link, None for one that is missing or being written."""
    try:
        text = path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return text if _DIGEST.fullmatch(text) else None
