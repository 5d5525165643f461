"""The part of a log4j2.xml that the model server can do: which log goes where, from which level.

Read are console and rolling file appenders with their names, sizes and counts, and the levels and
appenders of Multi Model Server's loggers. What else is in the file is named in `warnings`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from modelplex.server.config import MIB, ConfigError

# A logger of Multi Model Server's -> the log that it is here; the server's own is the last.
LOGS = {
    "ACCESS_LOG": "access_log",
    "MODEL_LOG": "model_log",
    "MODEL_METRICS": "model_metrics",
    "MMS_METRICS": "mms_metrics",
    "com.amazonaws.ml.mms": "mms_log",
}
LEVELS = ("all", "trace", "debug", "info", "warn", "error", "fatal", "off")
_UNITS = {"": 1, "K": 1024, "M": MIB, "G": 1024 * MIB}
_SIZE = re.compile(r"([\d.]+)\s*([KMG]?)B?", re.IGNORECASE)
_LOOKUP = re.compile(r"\$\{(?:(env|sys):)?([^:}]+)(?::-([^}]*))?\}")
_PATTERNS = {  # Multi Model Server's own; the logs are written in them
    "%d{ISO8601} [%-5p] %t %c - %m%n",
    "%d{ISO8601} [%-5p] %c - %m%n",
    "%d{ISO8601} - %m%n",
}
_JAVA_ONLY = ("io.netty", "org.apache")  # loggers of libraries that are not here


@dataclass(frozen=True, slots=True)
class LogFile:
    """A file that is rolled when it is `bytes_max` long; `kept` rolled ones stay."""

    path: Path
    bytes_max: int = 100 * MIB
    kept: int = 5


@dataclass(frozen=True, slots=True)
class Log:
    """Where the lines of one log go, from which level (one of LEVELS)."""

    level: str
    files: tuple[LogFile, ...]
    console: bool  # standard output


@dataclass(frozen=True, slots=True)
class LogConfig:
    """All logs: access_log, model_log, model_metrics, mms_metrics, mms_log."""

    logs: Mapping[str, Log]
    warnings: tuple[str, ...] = ()


def default(log_location: Path, metrics_location: Path) -> LogConfig:
    """What Multi Model Server's own file says: its root logger adds the console and mms_log."""
    files = {log: LogFile(log_location / f"{log}.log") for log in LOGS.values()}
    files |= {
        log: LogFile(metrics_location / f"{log}.log") for log in ("model_metrics", "mms_metrics")
    }
    logs = {log: Log("all", (files[log], files["mms_log"]), True) for log in LOGS.values()}
    logs["access_log"] = Log("info", logs["access_log"].files, True)
    logs["mms_log"] = Log("debug", (files["mms_log"],), True)
    return LogConfig(logs)


def read(path: Path, environ: Mapping[str, str] = os.environ) -> LogConfig:
    """The logs as a log4j2.xml wants them. Raises ConfigError if it cannot be read."""
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise ConfigError(f"The log configuration {path} cannot be read: {error}.") from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]  # the namespace does not matter
    if root.tag != "Configuration":
        raise ConfigError(f"The log configuration {path} begins with {root.tag}: no log4j2.xml.")
    return _Reader(path, environ).read(root)


@dataclass(frozen=True, slots=True)
class _Logger:
    level: str
    appenders: frozenset[str]
    additive: bool = True  # lines go to the root's appenders too


@dataclass(slots=True)
class _Reader:
    """One reading of a file: the appenders found so far, and what was not understood."""

    path: Path
    environ: Mapping[str, str]
    properties: dict[str, str] = field(default_factory=dict)
    files: dict[str, LogFile] = field(default_factory=dict)
    consoles: set[str] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)

    def read(self, root: Element) -> LogConfig:
        loggers: dict[str, _Logger] = {}
        for part in root:
            match part.tag:
                case "Properties":
                    for each in part:
                        self.properties[each.get("name", "")] = self._looked_up(each.text or "")
                case "Appenders":
                    for each in part:
                        self._appender(each)
                case "Loggers":
                    loggers = dict(self._loggers(part))
                case _:
                    self._warn(part, "is not used")
        top = loggers.get("", _Logger("error", frozenset()))
        logs = {log: self._log(loggers.get(name, top), top) for name, log in LOGS.items()}
        return LogConfig(logs, tuple(self.warnings))

    # -- appenders -----------------------------------------------------------------------------

    def _appender(self, element: Element) -> None:
        name = element.get("name", "")
        match element.tag:
            case "Console":
                self.consoles.add(name)
                if element.get("target", "SYSTEM_OUT") != "SYSTEM_OUT":
                    self._warn(element, "goes to standard output")
                self._check_layout(element)
            case "RollingFile" | "File":
                self.files[name] = self._file(element)
            case _:
                self._warn(element, "is no appender that can be used")

    def _file(self, element: Element) -> LogFile:
        """An appender with a file; one that is never rolled keeps Multi Model Server's limits."""
        where = self._text(element, "fileName")
        if not where:
            raise ConfigError(f"{element.tag} in {self.path} has no fileName.")
        self._check_layout(element)
        size = element.find("./Policies/SizeBasedTriggeringPolicy")
        kept = element.find("./DefaultRolloverStrategy")
        for part in (*element, *element.findall("./Policies/*")):
            if part.tag not in _FILE_PARTS:
                self._warn(part, "is not used: files are rolled by their size")
        limits = LogFile(Path(where))
        return LogFile(
            limits.path,
            limits.bytes_max if size is None else self._size(size),
            limits.kept if kept is None else self._kept(kept),
        )

    def _size(self, element: Element) -> int:
        text = self._text(element, "size")
        match = _SIZE.fullmatch(text)
        if match is None or not (size := int(float(match[1]) * _UNITS[match[2].upper()])):
            raise ConfigError(f'{self.path}: size="{text}" is no size such as "10 MB".')
        return size

    def _kept(self, element: Element) -> int:
        text = self._text(element, "max") or "5"
        if not text.isdigit() or not int(text):
            raise ConfigError(f'{self.path}: max="{text}" is no number of files.')
        return int(text)

    def _check_layout(self, element: Element) -> None:
        for layout in element.findall("./*"):
            if not layout.tag.endswith("Layout"):
                continue
            pattern = layout.get("pattern") or layout.findtext("Pattern", "").strip()
            if layout.tag != "PatternLayout" or pattern not in _PATTERNS:
                self._warn(layout, "is not used: lines have Multi Model Server's form")

    # -- loggers -------------------------------------------------------------------------------

    def _loggers(self, element: Element) -> Iterable[tuple[str, _Logger]]:
        """(name, logger); the root's name is "". Loggers of Java libraries are passed over."""
        for each in element:
            name = each.get("name", "") if each.tag.endswith("Logger") else ""
            if each.tag not in ("Logger", "AsyncLogger", "Root", "AsyncRoot"):
                self._warn(each, "is not used")
            elif name in LOGS or not name:
                yield name, self._logger(each)
            elif not name.startswith(_JAVA_ONLY):
                self._warn(each, "is no log of this server")

    def _logger(self, element: Element) -> _Logger:
        level = (self._text(element, "level") or "error").lower()
        if level not in LEVELS:
            raise ConfigError(f'{self.path}: level="{level}" is none of {", ".join(LEVELS)}.')
        known = {*self.files, *self.consoles}
        appenders = {each.get("ref", "") for each in element.iter("AppenderRef")}
        for name in sorted(appenders - known):
            self.warnings.append(f"{self.path}: there is no usable appender {name!r}.")
        additive = element.get("additivity", "true").lower() != "false"
        return _Logger(level, frozenset(appenders & known), additive)

    def _log(self, logger: _Logger, root: _Logger) -> Log:
        names = logger.appenders | (root.appenders if logger.additive else frozenset())
        files = {file.path: file for name, file in self.files.items() if name in names}
        return Log(logger.level, tuple(files.values()), bool(names & self.consoles))

    # -- both ----------------------------------------------------------------------------------

    def _text(self, element: Element, name: str) -> str:
        """An attribute with its `${env:NAME:-default}` and `${property}` looked up."""
        return self._looked_up(element.get(name, ""))

    def _looked_up(self, text: str) -> str:
        def replace(match: re.Match[str]) -> str:
            known = {None: self.properties, "env": self.environ}.get(match[1], {})
            return known.get(match[2], match[3] or "")

        return _LOOKUP.sub(replace, text)

    def _warn(self, element: Element, what: str) -> None:
        name = f' name="{element.get("name")}"' if element.get("name") else ""
        self.warnings.append(f"{self.path}: <{element.tag}{name}> {what}.")


_FILE_PARTS = {
    "PatternLayout",
    "Policies",
    "SizeBasedTriggeringPolicy",
    "TimeBasedTriggeringPolicy",  # days are marked by the lines' own dates
    "DefaultRolloverStrategy",
}
