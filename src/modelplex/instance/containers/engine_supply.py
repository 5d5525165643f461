"""From an image's name to the image that is run, by way of its registry if need be."""

from __future__ import annotations

import threading
from collections.abc import Callable

from modelplex.engine import EngineError, Found, find, missing_label
from modelplex.engine.pull import pull
from modelplex.instance.containers.images import OciImage

CALL_S = 60.0  # for any one answer of the engine; making a container may take it a while


class Supply:
    """One image for all lives of an instance's container. What the first of them runs, all run: an
    image that gets another meaning meanwhile is for other instances."""

    def __init__(self, image: OciImage, pull_timeout_s: float) -> None:
        self.image = image
        self._pull_timeout_s = pull_timeout_s
        self._pinned = ""  # the id of the image that has been run

    def get(self, on_progress: Callable[[str], None], stop: threading.Event) -> Found:
        """The image, pulled if need be. Blocks. Raises EngineError."""
        found = self._present() or self._pulled(on_progress, stop)
        image = self.image
        if image.needs_label and (problem := missing_label(image.name, found.labels)):
            raise EngineError(problem)
        self._pinned = found.id
        return found

    def _present(self) -> Found | None:
        """The image if it need not be pulled. Raises EngineError for one that cannot be."""
        image = self.image
        if self._pinned and (found := find(image.engine, self._pinned, CALL_S)):
            return found
        if image.pull:
            return None
        found = find(image.engine, image.reference, CALL_S)
        if found is None and image.reference.startswith("sha256:"):  # an id: no registry knows it
            raise EngineError(
                f"The container engine has no image {image.name} any more. Build or load it again."
            )
        return found

    def _pulled(self, on_progress: Callable[[str], None], stop: threading.Event) -> Found:
        image = self.image
        keys = image.credentials
        pull(
            image.engine,
            image.reference,
            (keys.username, keys.password) if keys else None,
            timeout_s=self._pull_timeout_s,
            on_progress=on_progress,
            stop=stop,
        )
        if found := find(image.engine, image.reference, CALL_S):
            return found
        raise EngineError(f"The container engine has pulled {image.name} and does not have it.")
