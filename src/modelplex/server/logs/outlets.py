"""Where log lines go: which file or console takes which log, in which of MMS's two forms."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from modelplex.server.logs.lines import Group, Lines, Route, Target
from modelplex.server.logs.log_config import LEVELS, Log, LogConfig
from modelplex.server.logs.rotation import Console, RolledFile

NUMBERS = dict(zip(LEVELS, (1, 5, 10, 20, 30, 40, 50, 60), strict=True))  # logging's
NAMES = {"WARNING": "WARN", "CRITICAL": "FATAL"}  # log4j's
STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
IN_FULL = ("model_log", "mms_log")  # whose own files have the long form


class Outlets:
    """All targets of a log configuration, and the queue that leads to them."""

    def __init__(self, logs: LogConfig, buffered: bool) -> None:
        self._logs = logs
        self._targets: dict[Path | None, Target] = {}  # None: the console
        self._groups: dict[tuple[Path | None, ...], Group] = {}
        self.level = NUMBERS[logs.logs["mms_log"].level]
        self._shared = self._places(logs.logs["mms_log"])
        self.routes = {name: self._route(name) for name in logs.logs}
        self.lines = Lines(list(self._groups.values()), buffered)

    def close(self) -> None:
        """Close the files."""
        for target in self._targets.values():
            target.close()

    def _route(self, name: str) -> Route:
        """Where the lines of a log go. What it shares with mms_log keeps its order there.

        What handlers print goes where mms_log goes besides, whatever the level of model_log: so it
        is in Multi Model Server, whose own logger prints it.
        """
        each = self._logs.logs[name]
        places = (
            self._places(each) if NUMBERS[each.level] <= logging.INFO or name == "mms_log" else {}
        )
        if name == "model_log" and self.level <= logging.INFO:
            places |= self._shared
        own = tuple(place for place in places if place not in self._shared)
        shared = tuple(place for place in self._shared if place in places)
        if name in IN_FULL:
            return Route((), self._group(own) + self._group(shared))
        return Route(self._group(own), self._group(shared))

    def _places(self, each: Log) -> dict[Path | None, None]:
        """The files and the console that a log goes to, in order."""
        for file in each.files:
            if file.path not in self._targets:
                self._targets[file.path] = RolledFile(file.path, file.bytes_max, file.kept)
        places: dict[Path | None, None] = {file.path: None for file in each.files}
        if each.console:
            self._targets.setdefault(None, Console())
            places[None] = None
        return places

    def _group(self, places: tuple[Path | None, ...]) -> tuple[Group, ...]:
        if not places:
            return ()
        if places not in self._groups:
            self._groups[places] = Group(self._targets[place] for place in places)
        return (self._groups[places],)


class Handler(logging.Handler):
    """This process's own logging as lines: event, then KEY=VALUE of what it was given."""

    def __init__(self, outlets: Outlets) -> None:
        super().__init__()
        self._lines = outlets.lines
        self._route = outlets.routes["mms_log"]

    def emit(self, record: logging.LogRecord) -> None:
        """One line, and those of a traceback."""
        try:
            level = NAMES.get(record.levelname, record.levelname)
            thread = "main" if record.threadName == "MainThread" else record.threadName
            head = f"[{level:<5}] {thread} {record.name}"
            self._lines.put(self._route, head, _text(record))
        except Exception:
            self.handleError(record)


def _text(record: logging.LogRecord) -> str:
    facts = {key: value for key, value in vars(record).items() if key not in STANDARD}
    text = record.getMessage() + "".join(f" {key}={_shown(facts[key])}" for key in facts)
    if record.exc_info:
        text += "\n" + logging.Formatter().formatException(record.exc_info)
    return text


def _shown(value: Any) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return repr(text) if not text or not text.isprintable() or " " in text else text
