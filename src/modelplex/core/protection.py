"""Who does not have to go for others: pinned models never, those that came in lately not yet."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from modelplex.core.keys import name_of
from modelplex.core.model import Model
from modelplex.core.rules import rule_of

if TYPE_CHECKING:
    from modelplex.core.holdings import Holdings


def apply_rule(here: Holdings, model: Model) -> None:
    """Let a model have what its owner wants for its name."""
    model.rule = rule_of(here.rules, name_of(model.name))
    pin(here, model)


def pin(here: Holdings, model: Model) -> None:
    """Make a model one that never has to go, or one like all others."""
    serves = here.versions.serving(name_of(model.name)) == model.name
    model.pinned = model.wanted or (model.rule.pinned and serves)
    if model.pinned:
        here.pinned[model.name] = model
    else:
        here.pinned.pop(model.name, None)


def keep_place(here: Holdings, model: Model, now: float) -> None:
    """Let a model that has just been loaded keep its place, for as long as that took."""
    model.loaded_at = now
    model.tenure_ends = now + min(now - model.work_since, here.limits.tenure_max_s)
    stay(here, model, max(model.tenure_ends, model.stays_until))


def stay(here: Holdings, model: Model, until: float) -> None:
    """Note when a loaded model may become a victim, so that who waits for one looks again."""
    heappush(here.protected, (until, model.name))


def next_victim_at(here: Holdings, now: float) -> float | None:
    """When the next loaded model may have to go that has kept its place until then."""
    while here.protected and here.protected[0][0] <= now:
        heappop(here.protected)
    return here.protected[0][0] if here.protected else None
