"""What a policy is."""

from __future__ import annotations

from typing import Protocol

from modelplex.core.usage import Usage


class Policy(Protocol):
    """An order of the models of one tier: the one with the lowest score leaves first.

    A score is asked for after the model was used, loaded or measured, and kept until then.
    """

    def score(self, model: str, usage: Usage, size_bytes: int, cost_s: float) -> float:
        """What keeping a model is worth that takes `size_bytes` and costs `cost_s` to have back."""
        ...

    def evicted(self, model: str, score: float, held_bytes: int) -> None:
        """A model had to leave, when all of the tier took `held_bytes`."""
        ...

    def watches(self, model: str) -> bool:
        """Whether `used` wants to hear of this model."""
        ...

    def used(self, model: str, usage: Usage, size_bytes: int, cost_s: float) -> bool:
        """A model was asked for. Whether all scores given so far are void."""
        ...


class Unwatching:
    """What a policy is like that learns nothing from requests but by the scores of their models."""

    def evicted(self, model: str, score: float, held_bytes: int) -> None:
        """It leaves no trace."""

    def watches(self, model: str) -> bool:
        """No."""
        return False

    def used(self, model: str, usage: Usage, size_bytes: int, cost_s: float) -> bool:
        """Never asked."""
        return False
