"""Folders to build images from; nothing in these tests needs a network."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from modelplex.images.build import Built, build
from modelplex.images.store import ImageStore

HANDLER = "import json\n\n\ndef handle(data, context):\n    return [json.dumps(1)]\n"
MakeFolder = Callable[..., Path]


class Images:
    """A store in a temporary folder, and what the last build said."""

    def __init__(self, root: Path) -> None:
        self.store = ImageStore(root)
        self.steps: list[tuple[str, str]] = []

    def build(self, folder: Path, name: str = "demo") -> Built:
        self.steps = []
        return build(self.store, folder, name, lambda *step: self.steps.append(step))

    def names(self) -> list[str]:
        """What lies in the store, apart from locks."""
        names = (each.name for each in self.store.root.iterdir())
        return sorted(each for each in names if not each.endswith(".lock"))


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return Images(tmp_path / "images")


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """A maker of image folders: `make_folder(toml, **{"name.py": text})`."""

    def make(toml: str = "", **files: str) -> Path:
        folder = tmp_path / "source"
        folder.mkdir(exist_ok=True)
        texts = {"image.toml": 'handler = "handler.py:handle"\n' + toml, "handler.py": HANDLER}
        for name, text in {**texts, **files}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        return folder

    return make


def make_wheel(folder: Path, name: str, module: str) -> Path:
    """A wheel with one module, written by hand: pip installs it without any index."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": module,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{each},,\n" for each in files) + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(path, "w") as archive:
        for each, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(each, text)
    return path
