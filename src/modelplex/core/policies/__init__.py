"""Who leaves first: eviction policies, each a plain score of what is known of a model."""

from __future__ import annotations

from collections.abc import Callable

from modelplex.core.policies.adaptive import Adaptive
from modelplex.core.policies.aging import Aging
from modelplex.core.policies.gdsf import GreedyDual
from modelplex.core.policies.lru import LeastRecentlyUsed
from modelplex.core.policies.policy import Policy
from modelplex.core.policies.tinylfu import TinyLfu

POLICIES: dict[str, Callable[[], Policy]] = {
    "adaptive": Adaptive,
    "lru": LeastRecentlyUsed,
    "gdsf": GreedyDual,
    "aging": Aging,
    "tinylfu": TinyLfu,
}

__all__ = ["POLICIES", "Policy"]
