"""Where things lie on an instance's disk.

    FOLDER/tmp/RANDOM/                 being made or being removed; emptied at start
    FOLDER/contents/CONTENT/           the files of one or more byte-identical archives, sealed
    FOLDER/models/ID/model/            a whole artifact, the working directory of its worker
    FOLDER/models/ID/record.json       whose it is; written last

ID is a hash of the model's key: an opaque folder as in SageMaker's `/opt/ml/models/ID/model`, so
that no name can lead anywhere. CONTENT is the archive's SHA-256.
"""

from __future__ import annotations

import hashlib
from pathlib import Path


class Layout:
    """Where things are on the disk, whether they are there or not."""

    def __init__(self, folder: Path) -> None:
        self.temporary = folder / "tmp"
        self.models = folder / "models"
        self.contents = folder / "contents"

    def place(self, model: str) -> Path:
        """The folder of a model's artifact and its record."""
        name = hashlib.sha256(model.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        return self.models / name

    def folder(self, model: str) -> Path:
        """Where the model's files are when it is on the disk."""
        return self.place(model) / "model"

    def original(self, content: str) -> Path:
        """Where the files of a content lie as they came out of the archive; nobody writes there."""
        return self.contents / content
