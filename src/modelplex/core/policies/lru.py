"""Least recently used: what everybody has, and what the others are measured against."""

from __future__ import annotations

from modelplex.core.policies.policy import Unwatching
from modelplex.core.usage import Usage


class LeastRecentlyUsed(Unwatching):
    """Whoever was asked for longest ago goes."""

    def score(self, model: str, usage: Usage, size_bytes: int, cost_s: float) -> float:
        """The moment of the last request."""
        return usage.last_at
