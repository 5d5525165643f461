"""Images whose containers are run as they are: what the spec of an instance says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class CommandImage:
    """A command that keeps the container contract, run as a process of this machine."""

    name: str
    folder: Path
    python: Path  # of the image's own environment; what lies beside it comes first on PATH
    command: tuple[str, ...]

    @property
    def code(self) -> Path:
        """The command's working directory: `code/` of a built image, otherwise the folder."""
        built = self.folder / "code"
        return built if built.is_dir() else self.folder


@dataclass(frozen=True, slots=True)
class Credentials:
    """For the registry that an image is pulled from."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials({self.username!r})"


@dataclass(frozen=True, slots=True)
class OciImage:
    """An image of a container engine."""

    name: str  # as CreateModel named it
    reference: str  # what the engine is asked for
    engine: str  # the URL of its socket
    pull: bool  # also when the engine has one of that name
    credentials: Credentials | None
    isolated: bool  # no network out of the container
    needs_label: bool  # of multi-model containers


def parse(document: Mapping[str, Any]) -> CommandImage | OciImage:
    """The image out of the spec's document. Raises KeyError, TypeError, ValueError."""
    match document["kind"]:
        case "command":
            return _command(document)
        case "oci":
            return _oci(document)
        case kind:
            raise ValueError(f"the image's kind must be handler, command or oci, not {kind!r}")


def _command(document: Mapping[str, Any]) -> CommandImage:
    if not document["command"] or not isinstance(document["command"], list):
        raise ValueError(f"the image's command must be a list, not {document['command']!r}")
    return CommandImage(
        name=str(document["name"]),
        folder=Path(document["folder"]),
        python=Path(document["python"]),
        command=tuple(map(str, document["command"])),
    )


def _oci(document: Mapping[str, Any]) -> OciImage:
    credentials = document.get("credentials")
    return OciImage(
        name=str(document["name"]),
        reference=str(document["reference"]),
        engine=str(document["engine"]),
        pull=bool(document["pull"]),
        credentials=Credentials(**credentials) if credentials else None,
        isolated=bool(document["isolated"]),
        needs_label=bool(document["needs_label"]),
    )
