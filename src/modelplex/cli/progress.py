"""The step that a long command is at: one changing line on a terminal, else a line per step."""

from __future__ import annotations

import sys
import time
from typing import Self

from modelplex.cli.output import say

_DETAIL_MAX = 100  # characters shown


class Progress:
    """To be used as a context; everything goes to stderr."""

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415 (80 ms)

        self._began = time.monotonic()
        self._last = ""
        self._terminal = sys.stderr.isatty()
        self._status = Console(stderr=True, highlight=False).status("…")

    def __enter__(self) -> Self:
        if self._terminal:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def show(self, step: str, detail: str) -> None:
        """The step being done, what exactly, and for how long everything has taken."""
        text = f"{time.monotonic() - self._began:6.1f} s  {step}: {detail[:_DETAIL_MAX]}"
        if self._terminal:
            from rich.text import Text  # noqa: PLC0415

            self._status.update(Text(text))
        elif detail != self._last:
            say(text)
        self._last = detail
