"""Makes the models that are loaded into the container: folders with a manifest and a handler."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modelplex.check import handler

Style = Literal["function", "class"]
_MODULE = "modelplex_check_handler"

# What makes the class of handler.py a function that is called once with None to load.
FUNCTION = """

_service = Service()


def handle(data, context):
    return _service.initialize(context) if data is None else _service.handle(data, context)
"""


@dataclass(frozen=True, slots=True)
class Loading:
    """What loading a model does: seconds asleep, bytes held, and how it fails ("memory", "error").

    Each combination is a model of its own.
    """

    style: Style = "function"
    sleep: float = 0.0
    hold: int = 0
    fail: Literal["", "memory", "error"] = ""


class Samples:
    """Models in a new folder that the container sees at the same path."""

    def __init__(self, folder: Path) -> None:
        folder.parent.chmod(0o755)  # a temporary folder; the container may be another user's
        folder.mkdir()
        self._folder = folder
        self._made: dict[Loading, Path] = {}

    def model(self, loading: Loading) -> Path:
        """The folder of a model that loads like this."""
        if loading not in self._made:
            self._made[loading] = self._make(loading)
        return self._made[loading]

    def missing(self) -> Path:
        """A place with nothing."""
        return self._folder / "missing" / "model"

    def garbage_archive(self) -> Path:
        """A file that calls itself an archive and is none."""
        path = self._folder / "garbage.tar.gz"
        path.write_bytes(b"\x1f\x8bthis is no archive" * 50)
        return path

    def garbage_manifest(self) -> Path:
        """A model folder whose manifest is not JSON."""
        folder = self._make(Loading(), "garbage")
        (folder / "MAR-INF" / "MANIFEST.json").write_text("{garbage")
        return folder

    def _make(self, loading: Loading, name: str = "") -> Path:
        folder = self._folder / (name or f"model-{len(self._made)}") / "model"
        (folder / "MAR-INF").mkdir(parents=True, exist_ok=True)
        source = Path(handler.__file__).read_text()
        code = source + FUNCTION if loading.style == "function" else source
        (folder / f"{_MODULE}.py").write_text(code)
        settings = {"sleep": loading.sleep, "hold": loading.hold, "fail": loading.fail}
        (folder / "check.json").write_text(json.dumps(settings))
        manifest = {
            "specificationVersion": "1.0",
            "implementationVersion": "1.0",
            "modelServerVersion": "1.0",
            "runtime": "python",
            "model": {"modelName": folder.parent.name, "handler": f"{_MODULE}.py:handle"},
        }
        (folder / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(manifest, indent=2))
        return folder
