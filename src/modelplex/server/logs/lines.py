"""Log lines on their way to files and the console: collected, and written in one piece."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

CHARACTERS_MAX = 16 * 1024 * 1024  # that wait; lines beyond are dropped and counted
UNMADE = 160  # characters that a line counts for before it is made
MANY = 128  # entries, of a line or two: so many are not left waiting for the writer's next round
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


class Clock:
    """Times as log4j's ISO8601 in local time; each millisecond's is made once."""

    def __init__(self) -> None:
        self._made = (0.0, 0.0, "")  # from when until when, and the text

    def stamp(self, at: float) -> str:
        """Such as 2018-10-15T13:56:18,976, of Unix seconds."""
        start, end, text = self._made
        return text if start <= at < end else self._make(at)

    def _make(self, at: float) -> str:
        whole = int(at * 1000)
        second = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(whole // 1000))
        text = f"{second},{whole % 1000:03d}"
        self._made = (whole / 1000, (whole + 1) / 1000, text)
        return text


Write = Callable[..., None]  # of the moment in Unix seconds, and of what was put down then
_Entry = tuple[Write, float, tuple[Any, ...]]


class Lines:
    """The queue of all lines, in the order in which they came, from whatever thread."""

    def __init__(self, groups: Iterable[Group], buffered: bool) -> None:
        """Unless `buffered`, each line is written at once, while its writer waits."""
        self.dropped = 0
        self.many = threading.Event()  # set when many lines wait
        self._groups = groups
        self._buffered = buffered
        self._waiting: list[_Entry] = []
        self._clock = Clock()
        self._size = 0  # characters, about: threads may miss each other's
        self._writing = threading.Lock()

    def put(self, route: Route, head: str, text: str) -> None:
        """One line of this moment: "[LEVEL] THREAD LOGGER", and what it says."""
        self.later(self.write, (route, head, text), 1, len(text))

    def later(
        self, write: Write, facts: tuple[Any, ...], lines: int = 1, size: int = UNMADE
    ) -> None:
        """Lines of `size` characters, about, that `write` makes of `facts` when they are written,
        and hands to `self.write`."""
        if self._size > CHARACTERS_MAX:
            self.dropped += lines
            return
        self._size += lines * size
        waiting = self._waiting
        waiting.append((write, time.time(), facts))
        if len(waiting) == MANY:
            self.many.set()
        if not self._buffered:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        with self._writing:
            count = len(self._waiting)  # never another list: an append may be under way
            ready, self._waiting[:count] = self._waiting[:count], []
            self._size = 0
            for write, at, facts in ready:
                write(at, *facts)
            for group in self._groups:
                group.write()

    def write(self, at: float, route: Route, head: str, text: str) -> None:
        """One line to those who take it; only called while lines are written."""
        line = text if len(text) <= LINE_MAX else text[:LINE_MAX]
        stamp = self._clock.stamp(at)
        for group in route.plain:
            group.lines.append(f"{stamp} - {line}\n")
        for group in route.full:
            group.lines.append(f"{stamp} {head} - {line}\n")
