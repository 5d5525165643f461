"""What a user hands to `modelplex build`: a folder with an `image.toml`, and its content hash."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

IGNORED = frozenset({"__pycache__", ".git"})
OLDEST_PYTHON = (3, 8)  # what modelplex.runtime needs
MODELS_PER_WORKER_MAX = 1000
BATCH_MAX = 1000  # requests that a handler may ask for at once
COMMAND_WORDS_MAX = 100

_CHUNK_BYTES = 1 << 20
_OF_HANDLERS = ("handler", "models_per_worker", "share_identical", "batch_max", "prepare")


class RecipeError(ValueError):
    """The folder cannot become an image; the text says which part of it and why."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A checked image.toml."""

    handler: str = ""  # "model_handler.py:handle"; empty: it has a command
    requirements: str | None = None  # a file in the folder
    python: str | None = None  # "3.11"; None: the platform's own
    environment: dict[str, str] = field(default_factory=dict)
    models_per_worker: int = 1  # more: its handlers can share a process
    share_identical: bool = True  # byte-identical models may share files and memory
    command: tuple[str, ...] = ()  # of a container that speaks the contract; empty: a handler
    batch_max: int = 1  # requests that the handler answers in one call
    prepare: str = ""  # "prepare.py:function", called once for each artifact; empty: nothing is


def read(folder: Path) -> Recipe:
    """The folder's image.toml, every entry checked. Raises RecipeError."""
    path = folder / "image.toml"
    try:
        document = tomllib.loads(path.read_text())
    except FileNotFoundError:
        hint = 'It needs at least: handler = "model_handler.py:handle", or a command.'
        raise RecipeError(f"There is no image.toml in {folder}. {hint}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise RecipeError(f"{path} cannot be read: {error}.") from error
    checks: dict[str, Callable[[Path, Any], Any]] = {
        "handler": _handler,
        "requirements": _requirements,
        "python": _python,
        "environment": _environment,
        "models_per_worker": _models_per_worker,
        "share_identical": _share_identical,
        "command": _command,
        "batch_max": _batch_max,
        "prepare": _prepare,
    }
    if unknown := sorted(set(document) - set(checks)):
        raise RecipeError(f"{path}: unknown entry {unknown[0]!r}; known: {', '.join(checks)}.")
    _check_together(path, document)
    return Recipe(**{name: checks[name](folder, value) for name, value in document.items()})


def _check_together(path: Path, document: dict[str, Any]) -> None:
    """One of handler and command, and with a command nothing that only handlers have."""
    if "command" not in document:
        if "handler" not in document:
            raise RecipeError(
                f'{path}: handler is missing; write handler = "model_handler.py:handle",'
                ' or command = ["serve"] for a server that speaks the container contract.'
            )
        return
    for name in _OF_HANDLERS:
        if name in document:
            raise RecipeError(f"{path}: command and {name} are given; a command has no {name}.")


def files(folder: Path, root: Path | None = None) -> Iterator[Path]:
    """Every file and link that goes into the image, in a fixed order.

    Raises RecipeError for a link that leads out of `root` (the folder itself) and for what is
    neither file nor folder: neither would mean the same thing on the next machine.
    """
    root = root or folder.resolve()
    for entry in sorted(os.scandir(folder), key=lambda each: each.name):
        path = Path(entry.path)
        if entry.name in IGNORED:
            continue
        if entry.is_symlink():
            _check_link(path, root)
            yield path
        elif entry.is_dir():
            yield from files(path, root)
        elif stat.S_ISREG(entry.stat().st_mode):
            yield path
        else:
            raise RecipeError(f"{path} is neither a file nor a folder: take it out of the image.")


def content_hash(folder: Path, *facts: str) -> str:
    """SHA-256 over names, contents, executable bits, and the given facts; 24 hex digits."""
    digest = hashlib.sha256()
    for fact in facts:
        _add(digest, fact.encode())
    for path in files(folder):
        _add(digest, os.fsencode(path.relative_to(folder)))
        if path.is_symlink():
            _add(digest, b"link " + os.fsencode(path.readlink()))
        else:
            _add(digest, b"x" if os.access(path, os.X_OK) else b"-")
            _add_file(digest, path)
    return digest.hexdigest()[:24]


def _check_link(path: Path, root: Path) -> None:
    """Refuse a link that leads out of `root`, or nowhere."""
    inside = not path.readlink().is_absolute() and path.resolve().is_relative_to(root)
    if not inside or not path.exists():
        raise RecipeError(f"{path} is a link out of the folder (to {path.readlink()}): copy it.")


def _add(digest: Any, part: bytes) -> None:
    digest.update(len(part).to_bytes(8, "big") + part)


def _add_file(digest: Any, path: Path) -> None:
    digest.update(path.stat().st_size.to_bytes(8, "big"))
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)


def _handler(folder: Path, value: Any) -> str:
    match = re.fullmatch(r"(\w+)(?:\.py)?(?::\w+)?", str(value))
    if match is None:
        raise RecipeError(
            f"image.toml: handler = {value!r} must be MODULE.py:FUNCTION (or MODULE.py:CLASS),"
            " with the module at the top of the folder."
        )
    if not any((folder / (match[1] + each)).exists() for each in (".py", "/__init__.py")):
        raise RecipeError(f"image.toml: handler = {value!r}, but {folder} has no {match[1]}.py.")
    return str(value)


def _requirements(folder: Path, value: Any) -> str:
    if not isinstance(value, str) or not (folder / value).is_file():
        raise RecipeError(f"image.toml: requirements = {value!r} is not a file in {folder}.")
    if not (folder / value).resolve().is_relative_to(folder.resolve()):
        raise RecipeError(f"image.toml: requirements = {value!r} lies outside of {folder}.")
    return value


def _python(_folder: Path, value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"3\.\d{1,2}", value):
        raise RecipeError(f'image.toml: python = {value!r} must be a text such as "3.11".')
    if tuple(map(int, value.split("."))) < OLDEST_PYTHON:
        raise RecipeError(f"image.toml: python = {value!r} is too old; 3.8 is the oldest.")
    return value


def _environment(_folder: Path, value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise RecipeError(f"image.toml: environment = {value!r} must be a table of texts.")
    for key, each in value.items():
        if not isinstance(each, str) or not re.fullmatch(r"[A-Za-z_]\w*", key):
            raise RecipeError(f"image.toml: environment: {key} = {each!r} must be NAME = text.")
    return dict(value)


def _models_per_worker(_folder: Path, value: Any) -> int:
    return _count("models_per_worker", value, MODELS_PER_WORKER_MAX)


def _batch_max(_folder: Path, value: Any) -> int:
    return _count("batch_max", value, BATCH_MAX)


def _count(name: str, value: Any, most: int) -> int:
    if type(value) is not int or not 1 <= value <= most:
        raise RecipeError(
            f"image.toml: {name} = {value!r} must be a whole number from 1 to {most}."
        )
    return value


def _command(_folder: Path, value: Any) -> tuple[str, ...]:
    words = value if isinstance(value, list) else []
    good = all(isinstance(each, str) and "\0" not in each for each in words)
    if not (words and good and words[0] and len(words) <= COMMAND_WORDS_MAX):
        raise RecipeError(
            f"image.toml: command = {value!r} must be a list of 1 to {COMMAND_WORDS_MAX} texts,"
            ' such as ["serve"] or ["python", "server.py"].'
        )
    return tuple(words)


def _prepare(folder: Path, value: Any) -> str:
    match = re.fullmatch(r"(\w+)\.py:\w+", str(value))
    if match is None or not (folder / f"{match[1]}.py").is_file():
        raise RecipeError(
            f"image.toml: prepare = {value!r} must be FILE.py:FUNCTION, the file in {folder}."
        )
    return str(value)


def _share_identical(_folder: Path, value: Any) -> bool:
    if not isinstance(value, bool):
        raise RecipeError(f"image.toml: share_identical = {value!r} must be true or false.")
    return value
