"""What the owner of an endpoint wants for some of its models: rules by name.

Everything has a default, so a model without a rule is treated as all are.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class Rule:
    """Settings for the models whose names match `pattern` (shell wildcards; case counts)."""

    pattern: str
    pinned: bool = False  # loaded as soon as it may be, and never a victim
    weight: float = 1.0  # its share of answers where many models compete, against 1.0 of others
    residency_min_s: float = 0.0  # once loaded it is no victim for so long
    queue_max: int = 0  # waiting requests; 0: the instance's queue_per_model_max
    refresh: bool = False  # follow changes of the artifact under the same key

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise ValueError(f"weight of {self.pattern} is {self.weight}; it has to be above 0")

    @property
    def is_name(self) -> bool:
        """Whether the pattern matches nothing but itself."""
        return not any(sign in self.pattern for sign in "*?[")


DEFAULT = Rule("*")


def rule_of(rules: tuple[Rule, ...], name: str) -> Rule:
    """The first rule that matches, else the default."""
    return next((rule for rule in rules if fnmatchcase(name, rule.pattern)), DEFAULT)
