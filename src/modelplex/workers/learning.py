"""Remembers which modules an image's models import, so that the next zygote imports them first."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from modelplex.runtime.imports import LEARNED_BYTES_MAX

log = logging.getLogger(__name__)


class Learned:
    """Module names in the order in which they were imported, kept in a small JSON file.

    The file (`{"modules": [...]}`) is a cache: when it cannot be read or written, or is lost,
    models load more slowly and nothing else happens. Several pools may share it.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._names: dict[str, None] = dict.fromkeys(self._read())

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, in order."""
        return tuple(self._names)

    def add(self, names: Iterable[str]) -> None:
        """Merges `names` in, as far as they fit, and writes the file if any is new."""
        room = LEARNED_BYTES_MAX - sum(len(name.encode()) + 1 for name in self._names)
        before = len(self._names)
        for name in names:
            size = len(name.encode()) + 1
            if name not in self._names and size <= room:
                self._names[name] = None
                room -= size
        if len(self._names) > before:
            self._write()

    def forget(self) -> None:
        """Starts anew, because a zygote could not live with what was learned."""
        self._names.clear()
        self._write()

    def _read(self) -> list[str]:
        if self._path is None:
            return []
        try:
            names = list(json.loads(self._path.read_bytes())["modules"])
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("learned.unreadable", extra={"path": str(self._path), "error": str(error)})
            return []
        return [name for name in names if isinstance(name, str) and "\n" not in name]

    def _write(self) -> None:
        if self._path is None:
            return
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            draft.write_text(json.dumps({"modules": list(self._names)}))
            draft.replace(self._path)
        except OSError as error:
            log.warning("learned.unwritable", extra={"path": str(self._path), "error": str(error)})
