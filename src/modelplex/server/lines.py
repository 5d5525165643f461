"""Log lines on their way to files and the console: collected, and written in one piece."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import NamedTuple, Protocol

CHARACTERS_MAX = 16 * 1024 * 1024  # that wait; lines beyond are dropped and counted
LINE_MAX = 32 * 1024  # characters of one line


class Target(Protocol):
    """What lines are written to. Neither method raises."""

    def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...


class Group:
    """Targets that take the same lines, and the lines that are about to be written to them."""

    __slots__ = ("lines", "targets")

    def __init__(self, targets: Iterable[Target]) -> None:
        self.targets = list(targets)
        self.lines: list[str] = []

    def write(self) -> None:
        if self.lines:
            data = "".join(self.lines).encode("utf-8", "backslashreplace")
            self.lines.clear()
            for target in self.targets:
                target.write(data)


class Route(NamedTuple):
    """Who takes one log's lines: as "time - text", and with level, thread and logger between."""

    plain: tuple[Group, ...]
    full: tuple[Group, ...]

    @property
    def wanted(self) -> bool:
        """Whether anybody takes them."""
        return bool(self.plain or self.full)


class Lines:
    """The queue of all lines, in the order in which they came, from whatever thread."""

    def __init__(self, groups: Iterable[Group], buffered: bool) -> None:
        """Unless `buffered`, each line is written at once, while its writer waits."""
        self.dropped = 0
        self._groups = groups
        self._buffered = buffered
        self._waiting: list[tuple[Route, str, str, str]] = []
        self._size = 0  # characters, about: threads may miss each other's
        self._writing = threading.Lock()

    def put(self, route: Route, stamp: str, head: str, text: str) -> None:
        """One line: its time, "[LEVEL] THREAD LOGGER", and what it says."""
        if self._size > CHARACTERS_MAX:
            self.dropped += 1
            return
        self._size += len(text)
        self._waiting.append((route, stamp, head, text))
        if not self._buffered:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        with self._writing:
            count = len(self._waiting)  # never another list: an append may be under way
            ready, self._waiting[:count] = self._waiting[:count], []
            self._size = 0
            for route, stamp, head, text in ready:
                line = text if len(text) <= LINE_MAX else text[:LINE_MAX]
                for group in route.plain:
                    group.lines.append(f"{stamp} - {line}\n")
                for group in route.full:
                    group.lines.append(f"{stamp} {head} - {line}\n")
            for group in self._groups:
                group.write()
