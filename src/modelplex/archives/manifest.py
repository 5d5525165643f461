"""What a model archive says of itself: `MAR-INF/MANIFEST.json`, read, checked and written.

Source of names and values: model-archiver 1.0 and its README.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelplex.archives.tree import Refused

PLACE = Path("MAR-INF") / "MANIFEST.json"
BYTES_MAX = 1024 * 1024
RUNTIMES = ("python", "python2", "python3")


@dataclass(frozen=True, slots=True)
class Manifest:
    """The fields that a server needs; "" is not given."""

    model_name: str = ""
    model_version: str = ""
    handler: str = ""
    runtime: str = ""
    engine: str = ""


def find(folder: Path) -> tuple[Path, Manifest]:
    """The model's own folder and its manifest, an empty one if there is none. Raises Refused.

    The model is `folder`, unless all of it lies one folder deeper with a manifest in there: that is
    what `model-archiver --archive-format tgz` packs.
    """
    if not (folder / PLACE).is_file():
        inner = list(itertools.islice(folder.iterdir(), 2))
        if len(inner) == 1 and (inner[0] / PLACE).is_file():
            folder = inner[0]
    return folder, _read(folder / PLACE)


def text(model_name: str, handler: str, runtime: str) -> str:
    """A manifest as model-archiver writes it."""
    document = {
        "runtime": runtime,
        "model": {"modelName": model_name, "handler": handler},
        "modelServerVersion": "1.0",
        "implementationVersion": "1.0",
        "specificationVersion": "1.0",
    }
    return json.dumps(document, indent=2)


def _read(path: Path) -> Manifest:
    if not path.is_file():
        return Manifest()
    try:
        with path.open("rb") as file:
            data = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise Refused(f"its {PLACE} cannot be read ({error.strerror})") from None
    if len(data) > BYTES_MAX:
        raise Refused(f"its {PLACE} is longer than {BYTES_MAX} bytes")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Refused(f"its {PLACE} is no JSON ({error})") from None
    return _checked(_object(document, "the whole"))


def _checked(document: dict[str, Any]) -> Manifest:
    model = _object(document.get("model", {}), "model")
    runtime = _text(document, "runtime") or "python"
    if runtime not in RUNTIMES:
        raise Refused(f"its {PLACE} has runtime {runtime!r}, not one of {', '.join(RUNTIMES)}")
    return Manifest(
        model_name=_text(model, "modelName"),
        model_version=_text(model, "modelVersion"),
        handler=_text(model, "handler"),
        runtime=runtime,
        engine=_engine(document),
    )


def _engine(document: dict[str, Any]) -> str:
    if document.get("engine") is None:
        return ""
    if name := _text(_object(document["engine"], "engine"), "engineName"):
        return name
    raise Refused(f"its {PLACE} has an engine without an engineName")


def _object(value: Any, name: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise Refused(f"its {PLACE} has {json.dumps(value)[:60]} for {name}, where an object belongs")


def _text(document: dict[str, Any], name: str) -> str:
    """A text, also where another tool wrote a bare number (a version); "" if it is not given."""
    match document.get(name):
        case None:
            return ""
        case str() | int() | float() as value if not isinstance(value, bool):
            return str(value)
        case value:
            shown = json.dumps(value)[:60]
            raise Refused(f"its {PLACE} has {shown} for {name}, where a text belongs")
