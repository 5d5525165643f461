"""Whether our registry has an image, asked while a model is being made."""

from __future__ import annotations

import asyncio

from modelplex.ecr import names, storage
from modelplex.settings import Settings


async def digest(settings: Settings, image: str) -> str | None:
    """The digest ("sha256:…") of an image's manifest in our registry, by any of the image's names.

    None if the name is not of our registry, if there is no such image, or no registry.
    """
    place = names.place(settings, image)
    if place is None:
        return None
    shelf = storage.Shelf(settings.data / "registry", place.repository)
    return await asyncio.to_thread(shelf.resolve, place.reference)
