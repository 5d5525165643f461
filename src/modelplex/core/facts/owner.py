"""What the owner wants: rules, and models that are there without being asked for."""

from __future__ import annotations

from modelplex.core import protection
from modelplex.core.holdings import Holdings
from modelplex.core.model import Model, State
from modelplex.core.rules import Rule
from modelplex.core.versions import succession


def wanted(here: Holdings, name: str) -> None:
    """The instance itself needs a model, from now on."""
    model = here.model(here.versions.serving(name))
    model.wanted = True
    protection.pin(here, model)
    if model.state is not State.LOADED:
        here.promise(model)


def configured(here: Holdings, rules: tuple[Rule, ...]) -> None:
    """Other rules hold. Pinned models that are not there are called, also those with a rule for
    their own name that nobody has asked for yet.
    """
    here.rules = rules
    for model in list(here.models.values()):
        _configure(here, model)
    for rule in rules:
        if rule.pinned and rule.is_name and here.versions.serving(rule.pattern) not in here.models:
            here.promise(succession.resolve(here, rule.pattern))


def _configure(here: Holdings, model: Model) -> None:
    protection.apply_rule(here, model)
    if model.state is State.LOADED:
        protection.stay(here, model, model.stays_until)
    elif model.pinned:
        here.promise(model)
    else:
        here.tidy(model)
