"""Who leaves first: eviction policies, each a plain score of what is known of a model."""

from __future__ import annotations

from typing import Protocol

from modelplex.core.usage import Usage


class Policy(Protocol):
    """An order of models: the one with the lowest score leaves first.

    A score may change only when the model is used, fetched, loaded or measured: it is asked for
    then and kept.
    """

    def score(self, usage: Usage, size_bytes: int, cost_s: float) -> float:
        """What keeping a model is worth that takes `size_bytes` and costs `cost_s` to have back."""
        ...

    def evicted(self, score: float) -> None:
        """One with this score has left."""
        ...
