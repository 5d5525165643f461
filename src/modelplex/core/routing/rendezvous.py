"""Rendezvous hashing: every instance draws its own number for a model, and the highest wins.

So when an instance goes away only its models move, each to the instance that drew second, and when
it is back only they come back. Whoever knows the same instances finds the same order.

Models share SLOTS slots by the hash of their name, and a slot has the order: there are never more
orders to keep than slots, however many models there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

SLOTS = (
    16_384  # 100 instances: 164 slots each, so chance makes one a few percent larger than another
)


def slot_of(model: str) -> int:
    """The slot of a model; any text will do for a name."""
    name = model.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(name, digest_size=4).digest(), "big") % SLOTS


def score(slot: int, instance: str) -> bytes:
    """The number that an instance draws for a slot; compared as it is, highest first."""
    return blake2b(b"%d\0%b" % (slot, instance.encode()), digest_size=8).digest()


def ranked(slot: int, instances: Iterable[str]) -> list[str]:
    """The instances' ids, best first."""
    return sorted(instances, key=lambda each: score(slot, each), reverse=True)
