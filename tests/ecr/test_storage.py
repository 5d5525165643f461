"""The registry's folder, read and deleted from."""

from __future__ import annotations

from pathlib import Path

from modelplex.ecr.storage import Shelf
from tests.ecr import layout


def test_images_with_and_without_tags(tmp_path: Path) -> None:
    """Each has its digest, tags and time; a tag that moved belongs to the new image alone."""
    first = layout.push(tmp_path, "team/demo", layout.manifest(1), "v1", "latest")
    second = layout.push(tmp_path, "team/demo", layout.manifest(2), "latest")
    third = layout.push(tmp_path, "team/demo", layout.manifest(3))
    shelf = Shelf(tmp_path, "team/demo")
    found = {each.digest: each for each in shelf.images()}
    assert {digest: each.tags for digest, each in found.items()} == {
        first: ("v1",),
        second: ("latest",),
        third: (),
    }
    assert found[first].pushed_at > 1_700_000_000
    assert shelf.resolve("latest") == second
    assert shelf.resolve(third) == third
    assert shelf.document(first) == layout.manifest(1)


def test_what_is_not_there(tmp_path: Path) -> None:
    """A repository that nothing was pushed to is empty; a link being written is not there yet."""
    shelf = Shelf(tmp_path, "demo")
    assert shelf.images() == []
    assert shelf.resolve("v1") is None
    assert shelf.document("sha256:" + "0" * 64) == {}
    digest = layout.push(tmp_path, "demo", layout.manifest(), "v1")
    (link,) = tmp_path.rglob("revisions/sha256/*/link")
    link.write_bytes(b"")
    assert shelf.images() == []
    assert shelf.resolve("v1") is None
    assert shelf.resolve(digest) is None


def test_a_reference_stays_in_its_repository(tmp_path: Path) -> None:
    """Whatever somebody calls a tag."""
    layout.push(tmp_path, "demo", layout.manifest(), "v1")
    shelf = Shelf(tmp_path, "other")
    for reference in ("../../../demo/_manifests/tags/v1", "..", "", "a/b", "\0"):
        assert shelf.resolve(reference) is None


def test_deleting(tmp_path: Path) -> None:
    """A tag, an image with all its tags, or everything but the repositories further down."""
    digest = layout.push(tmp_path, "demo", layout.manifest(), "v1", "v2", "v3")
    below = layout.push(tmp_path, "demo/below", layout.manifest(), "v1")
    shelf = Shelf(tmp_path, "demo")
    shelf.untag("v1")
    assert [each.tags for each in shelf.images()] == [("v2", "v3")]
    shelf.delete(digest)
    assert shelf.images() == []
    assert shelf.resolve("v2") is None
    layout.push(tmp_path, "demo", layout.manifest(), "v1")
    shelf.clear()
    shelf.clear()
    assert shelf.images() == []
    assert Shelf(tmp_path, "demo/below").resolve("v1") == below
