"""Files of Java properties, as `java.util.Properties.load` reads them, and `$$NAME$$` in them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from modelplex.server.config import ConfigError

_BLANKS = " \t\f"
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_VARIABLE = re.compile(r"\$\$([^$]+)\$\$")
# A key ends at the first blank, "=" or ":" that has no backslash before it.
_KEY = re.compile(r"((?:\\.|[^\\ \t\f=:])*)[ \t\f]*[=:]?[ \t\f]*(.*)", re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.?)", re.DOTALL)


def parse(data: bytes) -> dict[str, str]:
    """Keys and values; of a key that comes twice the last value. Blanks around values are dropped.

    UTF-8, or else Latin-1, which is what Java takes. Raises ConfigError for a bad `\\u` escape.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    found = {}
    for line in _logical_lines(text):
        match = _KEY.fullmatch(line)
        assert match is not None  # every text matches
        found[_unescaped(match[1])] = _unescaped(match[2]).strip()
    return found


def substituted(name: str, value: str, environ: Mapping[str, str], place: str) -> str:
    """`value` with each `$$NAME$$` replaced by that variable. Raises ConfigError if it is unset."""

    def replace(match: re.Match[str]) -> str:
        if (found := environ.get(match[1])) is None:
            raise ConfigError(f"{name} in {place}: the variable {match[1]} is not set.")
        return found

    return _VARIABLE.sub(replace, value)


def _logical_lines(text: str) -> Iterator[str]:
    """Lines that are neither empty nor comments, with their continuations joined to them."""
    lines = iter(re.split(r"\r\n|\r|\n", text))
    for line in lines:
        whole = line.lstrip(_BLANKS)
        if not whole or whole[0] in "#!":
            continue
        while _is_continued(whole):
            whole = whole[:-1] + next(lines, "").lstrip(_BLANKS)
        yield whole


def _is_continued(line: str) -> bool:
    """Whether it ends with an odd number of backslashes."""
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _unescaped(text: str) -> str:
    def replace(match: re.Match[str]) -> str:
        found = match[1]
        if len(found) == 5:
            return chr(int(found[1:], 16))
        if found == "u":
            raise ConfigError(f"{text!r}: four hexadecimal digits must follow \\u.")
        return _ESCAPES.get(found, found)

    return _ESCAPE.sub(replace, text)
