"""Logging of every process: events with keys, to stderr, for people or as JSON lines."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from modelplex.settings import Settings

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_COLOURS = {"warning": "\033[33m", "error": "\033[31m", "critical": "\033[31m"}


def configure(settings: Settings, process: str = "") -> None:
    """Send this process's log to stderr, as `settings.log_level` and `settings.json_logs` say.

    `process` is its name where several run the same code. Replaces what was configured before, so
    that it may be called again.
    """
    handler = logging.StreamHandler(sys.stderr)
    formatter = Json(process) if settings.json_logs else Human(sys.stderr.isatty(), process)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)  # other people's libraries
    logging.getLogger("modelplex").setLevel(settings.log_level.upper())


class Json(logging.Formatter):
    """One object per line: time, level, logger, event, pid, and the event's own keys."""

    def __init__(self, process: str = "") -> None:
        super().__init__()
        self._process = {"process": process} if process else {}

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record.created) + "Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            "pid": record.process,
            **self._process,
        }
        line |= {key: value for key, value in _keys(record).items() if key not in line}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class Human(logging.Formatter):
    """`12:00:01.234 info  gateway  request.done status=200`; colours on a terminal only.

    The name of the process, if it has one, stands before the logger's.
    """

    def __init__(self, colours: bool, process: str = "") -> None:
        super().__init__()
        self._process = process and f"{process} "
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        level = record.levelname.lower()
        keys = "".join(f" {key}={_shown(value)}" for key, value in _keys(record).items())
        name = self._process + record.name.removeprefix("modelplex.")
        line = f"{_time(record.created)[11:]} {level:<7} {name}  {record.getMessage()}{keys}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        colour = _COLOURS.get(level) if self._colours else None
        return f"{colour}{line}\033[0m" if colour else line


def _keys(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


def _time(created: float) -> str:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(created))
    return f"{stamp}.{int(created % 1 * 1000):03d}"


def _shown(value: Any) -> str:
    """A value on one line: quoted only where blanks or line ends would make it ambiguous."""
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if not text or set(text) & set(' \n\r\t"') else text
