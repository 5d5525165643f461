"""The images that come with modelplex: folders as anybody's, named `modelplex/NAME`.

Nothing is built before it is needed. What one will be is known without building it: the hash of its
folder, so a newer modelplex has newer images, and endpoints keep the ones that they were made with.
"""

from __future__ import annotations

from pathlib import Path

from modelplex.images import build, recipe
from modelplex.images.build import Built, Progress
from modelplex.images.store import BadName, ImageStore, normal_name

PREFIX = "modelplex/"
ROOT = Path(__file__).parent / "builtin"


def names() -> list[str]:
    """All built-in images, without the prefix."""
    return sorted(path.parent.name for path in ROOT.glob("*/image.toml"))


def full_name(name: str) -> str:
    """NAME:TAG of a built-in image."""
    return normal_name(PREFIX + name)


def find(image: str) -> str | None:
    """The built-in image that `modelplex/NAME` or `modelplex/NAME:latest` means, or None."""
    name = image.removeprefix(PREFIX).removesuffix(":latest")
    return name if image.startswith(PREFIX) and name in names() else None


def check_free(image: str) -> None:
    """Raises BadName for a name that only built-in images may have."""
    if normal_name(image).startswith(PREFIX):
        raise BadName(f"{image!r}: names that begin with {PREFIX} are the built-in images'.")


def digest(name: str) -> str:
    """The hash that a built-in image has or will have. Raises BuildFailed without its Python."""
    folder = ROOT / name
    return build.plan(folder, recipe.read(folder)).content_hash(folder)


def make(store: ImageStore, name: str, progress: Progress) -> Built:
    """Build a built-in image, unless it is there. Raises BuildFailed."""
    return build.build(store, ROOT / name, PREFIX + name, progress)
