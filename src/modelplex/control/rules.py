"""What the owner of an endpoint wants for its models by name, and which versions not.

The document of an endpoint, as its instances get it, at their start and whenever it changes:
`{"rules": [{"pattern", …}], "rejected": [{"model", "version"}]}`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

from modelplex.control.records import Document, Records
from modelplex.core.rules import Rule

RULES_MAX = 100  # per endpoint
REJECTED_MAX = 1000  # versions per endpoint; the oldest is forgotten first
PATTERN_MAX = 1024  # characters, as of TargetModel
NONE: Document = {"rules": [], "rejected": []}

_BOUNDS: dict[str, tuple[float, float]] = {
    "weight": (0.01, 1000.0),
    "residency_min_s": (0.0, 86_400.0),
    "queue_max": (0, 1_000_000),
}


class BadRules(ValueError):
    """The document cannot be taken; the text names the place, the value and what it may be."""


def of(records: Records, arn: str) -> Document:
    """What is wanted for an endpoint's models."""
    return records.rules(arn) or NONE


def replace(records: Records, arn: str, document: object) -> Document:
    """Set an endpoint's rules; what was rejected stays so. Raises BadRules."""
    rules = checked(document)
    with records.transaction():
        wanted = {**of(records, arn), "rules": rules}
        records.set_rules(arn, wanted)
    return wanted


def reject(records: Records, arn: str, model: str, version: str) -> Document:
    """Note a version of a model that its owner does not want."""
    entry = {"model": model, "version": version}
    with records.transaction():
        before = of(records, arn)
        others = [each for each in before["rejected"] if each != entry]
        wanted = {**before, "rejected": [*others, entry][-REJECTED_MAX:]}
        records.set_rules(arn, wanted)
    return wanted


def checked(document: object) -> list[Document]:
    """The rules of a request with all their members. Raises BadRules."""
    given = document.get("rules") if isinstance(document, dict) else None
    if not isinstance(given, list):
        raise BadRules(_wrong("rules", document, "Member must be a list of rules"))
    if len(given) > RULES_MAX:
        raise BadRules(
            _wrong("rules", f"{len(given)} rules", f"Member must have at most {RULES_MAX}")
        )
    rules = [_rule(f"rules.{number}.member", each) for number, each in enumerate(given, 1)]
    patterns = [rule["pattern"] for rule in rules]
    for pattern in patterns:
        if patterns.count(pattern) > 1:
            raise BadRules(_wrong("rules", pattern, "Each pattern may have one rule"))
    return rules


def _rule(place: str, given: object) -> Document:
    if not isinstance(given, dict):
        raise BadRules(_wrong(place, given, "Member must be an object"))
    if unknown := given.keys() - _CHECKS.keys():
        known = ", ".join(_CHECKS)
        raise BadRules(_wrong(place, min(unknown), f"Member must be one of {known}"))
    if "pattern" not in given:
        raise BadRules(_wrong(f"{place}.pattern", None, "Member must not be null"))
    for name, value in given.items():
        if constraint := _CHECKS[name](name, value):
            raise BadRules(_wrong(f"{place}.{name}", value, constraint))
    return asdict(Rule(**given))


def _pattern(_name: str, value: Any) -> str:
    good = isinstance(value, str) and 0 < len(value) <= PATTERN_MAX and value.isprintable()
    return "" if good else f"Member must be 1 to {PATTERN_MAX} printable characters"


def _flag(_name: str, value: Any) -> str:
    return "" if isinstance(value, bool) else "Member must be true or false"


def _number(name: str, value: Any) -> str:
    low, high = _BOUNDS[name]
    kinds = (int,) if isinstance(low, int) else (int, float)
    good = isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= high
    return "" if good else f"Member must be between {low:g} and {high:g}"


_CHECKS: dict[str, Callable[[str, Any], str]] = {
    each.name: _number if each.name in _BOUNDS else _flag for each in fields(Rule)
} | {"pattern": _pattern}


def _wrong(place: str, value: object, constraint: str) -> str:
    """In the service's words."""
    return (
        f"1 validation error detected: Value '{str(value)[:200]}' at '{place}' failed to satisfy "
        f"constraint: {constraint}"
    )
