"""Which variant and which instance a request goes to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest

from modelplex.core.routing.variants import UnknownVariant, choose_variant, pick_any


@dataclass(frozen=True)
class Variant:
    name: str
    weight: float


@dataclass(frozen=True)
class Instance:
    id: str
    healthy: bool = True
    draining: bool = False


def test_variants_share_requests_by_weight() -> None:
    """A variant of weight 3 gets three times as many draws as one of weight 1."""
    variants = [Variant("a", 3.0), Variant("off", 0.0), Variant("b", 1.0)]
    chosen = Counter(choose_variant(variants, None, i / 1000).name for i in range(1000))
    assert chosen == {"a": 750, "b": 250}


def test_a_named_variant_is_taken_whatever_its_weight() -> None:
    """TargetVariant overrides weights, 0 too."""
    variants = [Variant("a", 1.0), Variant("off", 0.0)]
    assert choose_variant(variants, "off", 0.5).name == "off"


def test_an_unknown_variant_is_an_error() -> None:
    """A name that the endpoint does not have is not replaced by another."""
    with pytest.raises(UnknownVariant, match="nosuch"):
        choose_variant([Variant("a", 1.0)], "nosuch", 0.0)


def test_without_any_weight_all_variants_are_equal() -> None:
    """Weights of 0 everywhere are no reason to refuse."""
    variants = [Variant("a", 0.0), Variant("b", 0.0)]
    assert [choose_variant(variants, None, d).name for d in (0.0, 0.5)] == ["a", "b"]


def test_a_draw_just_below_one_finds_a_variant() -> None:
    """Rounding never runs off the end of the list."""
    variants = [Variant(str(i), 0.1) for i in range(10)]
    assert choose_variant(variants, None, 1 - 2**-53).name == "9"


def test_of_two_drawn_instances_the_less_busy_is_taken() -> None:
    """Every pair is drawn equally often, so that the busiest of three is never first."""
    instances = [Instance("a"), Instance("b"), Instance("c")]
    busy = {"a": 5, "b": 1, "c": 3}
    orders = [
        [each.id for each in pick_any(instances, lambda i: busy[i.id], n / 600)] for n in range(600)
    ]
    first = Counter(order[0] for order in orders)
    assert first == {"b": 400, "c": 200}
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)


def test_the_fit_come_before_the_draining_and_those_before_the_unhealthy() -> None:
    """Whatever is drawn, and however busy they are."""
    sick, going = Instance("sick", healthy=False), Instance("going", draining=True)
    fit = Instance("fit")
    for draw in (0.0, 0.5, 0.99):
        picked = pick_any([sick, going, fit], lambda i: int(i is fit), draw)
        assert picked == [fit, going, sick]
    assert pick_any([], lambda _: 0, 0.5) == []
    assert set(pick_any([sick], lambda _: 0, 0.5)) == {sick}
