"""Which variant and which instance a request goes to.

Everything random is an argument: `draw` is a number from 0 up to, but not including, 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
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
    eligible = [variant for variant in variants if variant.weight > 0]
    if not eligible:
        return variants[int(draw * len(variants))]
    left = draw * sum(variant.weight for variant in eligible)
    for variant in eligible[:-1]:
        left -= variant.weight
        if left < 0:
            return variant
    return eligible[-1]


def rank(model: str, instances: Sequence[I]) -> list[I]:
    """Where a model should be, best first; the others are where it goes when the best are gone.

    Rendezvous hashing: every instance draws its own number for the model, and the highest wins. So
    when an instance goes away only its models move, and when it is back only they come back.
    """
    name = model.encode()
    return sorted(instances, key=lambda each: (each.healthy, _score(name, each.id)), reverse=True)


def _score(model: bytes, instance: str) -> bytes:
    return blake2b(instance.encode() + b"\0" + model, digest_size=8).digest()


def pick_any(instances: Sequence[I], draw: float) -> list[I]:
    """Where to go when every instance has the same model: healthy ones first, evenly spread."""
    start = int(draw * len(instances))
    turned = [*instances[start:], *instances[:start]]
    return sorted(turned, key=lambda instance: not instance.healthy)
