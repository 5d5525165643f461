"""What a model has been worth so far, whatever the policy makes of it."""

from __future__ import annotations

from modelplex.core.usage import Usage

COST_MIN_S = 1e-3  # a model of which nothing was measured is not worthless
COUNT_MIN = 1e-3


def rate(usage: Usage, size_bytes: int, cost_s: float) -> float:
    """Seconds of loading that each of its bytes has saved; always above 0."""
    return max(usage.count, COUNT_MIN) * max(cost_s, COST_MIN_S) / max(size_bytes, 1)
