"""The log of facts and orders: what a residency was told, and what it said, as lines of text.

    NOW <tab> FACT <tab> ORDER <tab> ORDER …        each FACT and ORDER as Name["value",…]

A log begins with a line of its own, `{"format": 1, …}`, which has the checkpoint that the facts
start from. Numbers are written exactly, so that a replay of the facts gives the same orders. What
the shell gave as the reason of a failure is kept as its text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from enum import Enum
from functools import lru_cache
from typing import Any, get_args, get_type_hints

from modelplex.core import events
from modelplex.core.events import Action, Fact
from modelplex.core.rules import Rule

FORMAT = 1


class BadLog(ValueError):
    """A line that is no part of a log; says which and why."""


@dataclass(frozen=True, slots=True)
class Header:
    """How a log begins. `checkpoint` is what `checkpoint.take` gave; `version` is modelplex's."""

    instance: str
    version: str
    unix_offset: float  # of the log's clock: add it to a `now` for Unix seconds
    checkpoint: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One fact, when it was handed in, and the orders that it called for."""

    now: float
    fact: Fact
    orders: list[Action]


# -- writing --------------------------------------------------------------------------------------


def head(header: Header) -> str:
    """The first line of a log."""
    document = {"format": FORMAT} | {f.name: getattr(header, f.name) for f in fields(header)}
    return json.dumps(document) + "\n"


def line(now: float, fact: Fact, orders: Iterable[Action]) -> str:
    """The line of one fact and its orders."""
    return "\t".join([repr(now), text(fact), *map(text, orders)]) + "\n"


def text(message: Fact | Action) -> str:
    """One fact or order. Two that say the same have the same text, whatever their failures are."""
    writer = _WRITERS.get(type(message))
    if writer is not None:
        return writer(message)
    kind: Any = type(message)
    names = _fields(kind)
    values = [_plain(getattr(message, name)) for name in names]
    return str(kind.__name__) + json.dumps(values, separators=(",", ":"))


@lru_cache(4096)
def _quoted(name: str) -> str:
    return json.dumps(name)


# These are nearly all of a busy log, and are written without a detour.
_WRITERS: dict[type[Any], Callable[[Any], str]] = {
    events.Invoked: lambda told: f"Invoked[{told.request},{_quoted(told.model)}]",
    events.Forward: lambda said: f"Forward[{said.request},{_quoted(said.model)}]",
    events.Answered: lambda told: f"Answered[{told.request}]",
}


@lru_cache
def _fields(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def _plain(value: object) -> Any:
    """A value as JSON has it."""
    match value:
        case Enum():
            return value.value
        case Rule():
            return [_plain(getattr(value, name)) for name in _fields(Rule)]
        case tuple():
            return [_plain(each) for each in value]
        case bool() | int() | float() | str() | None:
            return value
    return str(value)


# -- reading --------------------------------------------------------------------------------------


def read_head(first: str) -> Header:
    """The header in a log's first line. Raises BadLog."""
    try:
        document = json.loads(first)
        known = document["format"] == FORMAT
        values = {field.name: document[field.name] for field in fields(Header)}
    except (ValueError, KeyError, TypeError) as error:
        raise BadLog(f"the log has no header: {error!r}") from None
    if not known:
        raise BadLog(f"the log has format {document['format']!r}; this version reads {FORMAT}")
    return Header(**values)


def read(lines: Iterable[str]) -> Iterator[Entry]:
    """The entries of a log without its first line. Raises BadLog.

    A last line without its end, as a kill leaves it, is left out.
    """
    for number, each in enumerate(lines, 2):
        if not each.endswith("\n"):
            return
        try:
            yield _entry(each)
        except (ValueError, KeyError, TypeError) as error:
            raise BadLog(f"line {number} of the log cannot be read: {error!r}") from None


def _entry(written: str) -> Entry:
    now, fact, *orders = written.rstrip("\n").split("\t")
    return Entry(float(now), _message(fact), [_message(order) for order in orders])


def _message(written: str) -> Any:
    name, _, values = written.partition("[")
    kind, readers = _KINDS[name]
    given = json.loads("[" + values)
    if len(given) > len(readers):
        raise ValueError(f"{name} has {len(given)} values instead of {len(readers)}")
    # An earlier version wrote fewer: those that came later have their defaults.
    return kind(*[reader(value) for reader, value in zip(readers, given, strict=False)])


def _rules(values: list[list[Any]]) -> tuple[Rule, ...]:
    return tuple(Rule(*value) for value in values)


def _as_it_is(value: Any) -> Any:
    return value


def _reader(hint: Any) -> Any:
    if hint == tuple[Rule, ...]:
        return _rules
    return hint if isinstance(hint, type) and issubclass(hint, Enum) else _as_it_is


def _kinds() -> dict[str, tuple[type[Any], list[Any]]]:
    kinds = [*get_args(Fact), *get_args(Action)]
    return {
        kind.__name__: (kind, [_reader(hint) for hint in get_type_hints(kind).values()])
        for kind in kinds
    }


_KINDS = _kinds()
