"""Frozen dataclasses out of TOML tables: names, types and quantities, with errors that help."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_type_hints

Table = Mapping[str, Any]
T = TypeVar("T")

_UNITS = {
    **{unit: 1000.0**power for power, unit in enumerate(("B", "KB", "MB", "GB", "TB"))},
    **{unit: 1024.0**power for power, unit in enumerate(("KIB", "MIB", "GIB", "TIB"), 1)},
    **{"MS": 1e-3, "S": 1.0, "MIN": 60.0, "H": 3600.0, "D": 86_400.0, "%": 0.01, "": 1.0},
    **{"GBIT": 1.25e8, "MBIT": 1.25e5},
}
_QUANTITY = re.compile(r"\s*([0-9_]*\.?[0-9]+(?:[eE][+-]?\d+)?)\s*([A-Za-z%]*)\s*")


class ScenarioError(ValueError):
    """A scenario that cannot be played. The text says what is wrong, where, and what may be."""


def quantity(text: str, place: str) -> float:
    """ "20MB" -> 20,000,000.0; "1.5h" -> 5400.0; "10Gbit" -> 1.25e9 (bytes). A number stays."""
    found = _QUANTITY.fullmatch(text)
    if not found or found[2].upper() not in _UNITS:
        raise ScenarioError(
            f"{place} is {text!r}; write a number, or one with a unit: 20MB, 1.5GiB, 250ms, 10min, "
            "2h, 1d, 10Gbit, 2%"
        )
    return float(found[1].replace("_", "")) * _UNITS[found[2].upper()]


def read(kind: type[T], table: Table, place: str) -> T:
    """A dataclass whose fields the table names. Raises ScenarioError."""
    require_table(table, place)
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    refuse_unknown(table, names, place)
    values = {name: value(hints[name], given, f"{place}.{name}") for name, given in table.items()}
    for field in fields(kind):  # type: ignore[arg-type]
        if field.default is MISSING and field.name not in values:
            raise ScenarioError(f"{place} has no {field.name}")
    try:
        return kind(**values)
    except ValueError as error:
        raise ScenarioError(f"{place}: {error}") from None


def refuse_unknown(table: Iterable[str], names: Iterable[str], place: str) -> None:
    """Raises ScenarioError for a name that is none of `names`, with the nearest of them."""
    known = list(names)
    for name in table:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise ScenarioError(f"{place} has no setting {name!r}; {hint}")


def require_table(table: object, place: str) -> None:
    """Raises ScenarioError if it is something else."""
    if not isinstance(table, Mapping):
        raise ScenarioError(f"{place} is {table!r}; it has to be a table")


def value(hint: Any, given: Any, place: str) -> Any:
    """A value as its field wants it."""
    if hint is bool or hint is str:
        if not isinstance(given, hint):
            raise ScenarioError(f"{place} is {given!r}; it has to be a {hint.__name__}")
        return given
    number = quantity(given, place) if isinstance(given, str) else given
    if isinstance(number, bool) or not isinstance(number, int | float) or math.isnan(number):
        raise ScenarioError(f"{place} is {given!r}; it has to be a number")
    if number < 0:
        raise ScenarioError(f"{place} is {given!r}; it cannot be below 0")
    if hint is int:
        if number != int(number):
            raise ScenarioError(f"{place} is {given!r}; it has to be a whole number")
        return int(number)
    return float(number)
