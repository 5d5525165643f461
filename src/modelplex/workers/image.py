"""What a pool must know of an image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """A handler image. `handler` is `module.py:function`, `module.py:Class` or `module.py`, for
    models that name none; if it is empty, nothing is tried at start. `preload` names modules to
    import before any model is loaded. `prepare` (`module.py:function`, or "") is called with the
    folder of each artifact before its first load, and may add to it."""

    folder: Path
    python: Path
    handler: str
    preload: tuple[str, ...] = ()
    prepare: str = ""

    @property
    def code(self) -> Path:
        """Where the handler lies: `code/` of a built image, otherwise the folder itself."""
        built = self.folder / "code"
        return built if built.is_dir() else self.folder
