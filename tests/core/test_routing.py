"""Which variant and which instance a request goes to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest

from modelplex.core import routing


@dataclass(frozen=True)
class Variant:
    name: str
    weight: float


@dataclass(frozen=True)
class Instance:
    id: str
    healthy: bool = True


def test_variants_share_requests_by_weight() -> None:
    """A variant of weight 3 gets three times as many draws as one of weight 1."""
    variants = [Variant("a", 3.0), Variant("off", 0.0), Variant("b", 1.0)]
    chosen = Counter(routing.choose_variant(variants, None, i / 1000).name for i in range(1000))
    assert chosen == {"a": 750, "b": 250}


def test_a_named_variant_is_taken_whatever_its_weight() -> None:
    """TargetVariant overrides weights, 0 too."""
    variants = [Variant("a", 1.0), Variant("off", 0.0)]
    assert routing.choose_variant(variants, "off", 0.5).name == "off"


def test_an_unknown_variant_is_an_error() -> None:
    """A name that the endpoint does not have is not replaced by another."""
    with pytest.raises(routing.UnknownVariant, match="nosuch"):
        routing.choose_variant([Variant("a", 1.0)], "nosuch", 0.0)


def test_without_any_weight_all_variants_are_equal() -> None:
    """Weights of 0 everywhere are no reason to refuse."""
    variants = [Variant("a", 0.0), Variant("b", 0.0)]
    assert [routing.choose_variant(variants, None, d).name for d in (0.0, 0.5)] == ["a", "b"]


def test_a_draw_just_below_one_finds_a_variant() -> None:
    """Rounding never runs off the end of the list."""
    variants = [Variant(str(i), 0.1) for i in range(10)]
    assert routing.choose_variant(variants, None, 1 - 2**-53).name == "9"


def test_models_are_spread_over_instances() -> None:
    """Each of four instances is the first choice of about a quarter of the models."""
    instances = [Instance(f"i-{i}") for i in range(4)]
    first = Counter(routing.rank(f"m{i}.tar.gz", instances)[0].id for i in range(4000))
    assert all(850 < count < 1150 for count in first.values())


def test_only_the_models_of_a_lost_instance_move() -> None:
    """The order of the remaining ones stays, listed in any order, dead or gone."""
    instances = [Instance(f"i-{i}") for i in range(4)]
    for model in (f"m{i}" for i in range(200)):
        before = [each.id for each in routing.rank(model, instances)]
        gone = routing.rank(model, [each for each in reversed(instances) if each.id != "i-2"])
        dead = routing.rank(model, [Instance(each.id, each.id != "i-2") for each in instances])
        before.remove("i-2")
        assert [each.id for each in gone] == before
        assert [each.id for each in dead] == [*before, "i-2"]


def test_any_instance_will_do_for_a_single_model() -> None:
    """Draws spread requests over all, and the unhealthy come last."""
    instances = [Instance("a"), Instance("b", healthy=False), Instance("c")]
    orders = ["".join(i.id for i in routing.pick_any(instances, d)) for d in (0.0, 0.4, 0.9)]
    assert orders == ["acb", "cab", "cab"]
