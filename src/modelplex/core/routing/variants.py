"""Which variant and which instance a request goes to.

Everything random is an argument: `draw` is a number from 0 up to, but not including, 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar


class Variant(Protocol):
    """What is asked of a production variant here."""

    @property
    def name(self) -> str: ...

    @property
    def weight(self) -> float: ...


class Instance(Protocol):
    """What is asked of an instance here."""

    @property
    def id(self) -> str: ...

    @property
    def healthy(self) -> bool: ...

    @property
    def draining(self) -> bool: ...


V = TypeVar("V", bound=Variant)
I = TypeVar("I", bound=Instance)  # noqa: E741 - a type


class UnknownVariant(LookupError):
    """The endpoint has no variant of that name."""


def choose_variant(variants: Sequence[V], target_variant: str | None, draw: float) -> V:
    """The variant named by the request, else one by weight.

    A variant of weight 0 gets requests only by name; if all weights are 0, all get the same share.
    Raises UnknownVariant.
    """
    if target_variant is not None:
        for variant in variants:
            if variant.name == target_variant:
                return variant
        raise UnknownVariant(target_variant)
    if len(variants) == 1:
        return variants[0]
    eligible = [variant for variant in variants if variant.weight > 0]
    if not eligible:
        return variants[int(draw * len(variants))]
    left = draw * sum(variant.weight for variant in eligible)
    for variant in eligible[:-1]:
        left -= variant.weight
        if left < 0:
            return variant
    return eligible[-1]


def tier(instance: Instance) -> int:
    """How fit for requests: 0, the best; 1, going to be stopped; 2, unhealthy.

    Unhealthy ones are the last, yet they are not out: after control's restart all look so for a
    moment.
    """
    if not instance.healthy:
        return 2
    return 1 if instance.draining else 0


def pick_any(instances: Sequence[I], in_flight: Callable[[I], int], draw: float) -> list[I]:
    """Where to go when every instance has the same model: of two drawn ones the less busy.

    The fittest come first; `in_flight` is what an instance has to do.
    """
    order = sorted(instances, key=tier)
    count = len([each for each in order if tier(each) == tier(order[0])])
    if count < 2:
        return order
    one = int(draw * count)
    other = (one + 1 + int((draw * count - one) * (count - 1))) % count
    first = min(order[one], order[other], key=in_flight)
    return [first, *[each for each in order if each is not first]]
