"""The rules that one value of a service's model can break, in the services' own words."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

from modelplex.aws.errors import SerializationException

Shape = dict[str, Any]

_NUMBERS = frozenset(["integer", "long", "float", "double"])
TIMESTAMP_MAX = 253_402_300_799  # the last second of the year 9999


def _rules(shape: Shape) -> Iterator[tuple[str, Callable[[Any], bool]]]:
    """Every rule of the shape in the service's words, and what a value has to meet for it."""
    measure = "value" if shape["type"] in _NUMBERS else "length"

    def size(value: Any) -> Any:
        return value if measure == "value" else len(value)

    if (most := shape.get("max")) is not None:
        yield f"Member must have {measure} less than or equal to {most}", lambda v: size(v) <= most
    if (least := shape.get("min")) is not None:
        words = f"Member must have {measure} greater than or equal to {least}"
        yield words, lambda v: size(v) >= least
    if enum := shape.get("enum"):
        yield f"Member must satisfy enum value set: [{', '.join(enum)}]", lambda v: v in enum
    if pattern := shape.get("pattern"):
        words = f"Member must satisfy regular expression pattern: {pattern}"
        yield words, lambda v: compiled(pattern).fullmatch(v) is not None


def broken(shape: Shape, value: Any) -> list[str]:
    """The rules of the shape that the value breaks, in the service's words."""
    return [words for words, is_met in _rules(shape) if not is_met(value)]


def stated(shape: Shape) -> list[str]:
    """All rules of a shape, broken or not."""
    return [words for words, _ in _rules(shape)]


# Java's classes that Python's `re` lacks. `\w` stands for letters, numbers and the underscore,
# which every pattern in the slices that has \p{L} or \p{N} allows anyway.
_JAVA = {
    r"\p{L}": r"\w",
    r"\p{N}": r"\w",
    r"\p{Z}": " \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000",
    r"\p{Print}": r"\x20-\x7e",
    r"\p{ASCII}": r"[\x00-\x7f]",
    r"\z": r"\Z",
}


@functools.cache
def compiled(pattern: str) -> re.Pattern[str]:
    """A pattern of a service model, which is written for Java: there `\\w` and `\\d` are ASCII."""
    flags = 0 if r"\p{L}" in pattern else re.ASCII
    for java, python in _JAVA.items():
        pattern = pattern.replace(java, python)
    return re.compile(pattern, flags)


# -- JSON types ---------------------------------------------------------------------------------

_JAVA_NAMES = {
    "string": "a String",
    "integer": "an Integer",
    "long": "a Long",
    "float": "a Float",
    "double": "a Double",
    "boolean": "a Boolean",
    "timestamp": "a Date",
    "blob": "a ByteBuffer",
}


def check_type(kind: str, value: Any, path: str) -> None:
    """Raises SerializationException where the JSON type, or a number's size, is not the shape's."""
    if has_type(kind, value):
        return
    where = f" (at '{path}')" if path else ""
    match value:
        case dict():
            words = "Start of structure or map found where not expected."
        case list():
            words = "Start of list found where not expected."
        case _ if kind in ("structure", "list", "map"):
            words = f"Expected {'list' if kind == 'list' else 'map'} or null"
        case _:
            words = f"{_token(value)} can not be converted to {_JAVA_NAMES[kind]}"
    raise SerializationException(words + where)


def _token(value: Any) -> str:
    match value:
        case bool():
            return f"{str(value).upper()}_VALUE"
        case int() | float():
            return "NUMBER_VALUE"
        case _:
            return "STRING_VALUE"


def has_type(kind: str, value: Any) -> bool:
    match kind:
        case "structure":
            return isinstance(value, dict)
        case "map":
            return isinstance(value, dict) and all(map(_is_text, value))
        case "list":
            return isinstance(value, list)
        case "string" | "blob":
            return _is_text(value)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return _is_number(value) and isinstance(value, int) and -(2**31) <= value < 2**31
        case "long":
            return _is_number(value) and isinstance(value, int) and -(2**63) <= value < 2**63
        case "timestamp":
            return _is_number(value) and abs(value) <= TIMESTAMP_MAX
        case _:
            return _is_number(value)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) or math.isfinite(value)


def _is_text(value: Any) -> bool:
    """A string that can be written as UTF-8: JSON's lone surrogates cannot."""
    if not isinstance(value, str):
        return False
    try:
        return value.isascii() or bool(value.encode())
    except UnicodeEncodeError:
        return False
