"""What the gateways of one machine share: where each model was last sent to.

A piece of memory that all of them have, in the manner of a chess program's table of positions: a
fixed number of entries of two words, found by hash, the oldest of eight giving way to a new one. No
locks: the first word is the key XOR the second, so an entry of which two wrote a half each fits no
key (R. Hyatt's and T. Mann's lockless transposition table). What is missing, forgotten or half
written is a model that has not been asked for, which is never wrong, merely slower.
"""

from __future__ import annotations

from hashlib import blake2b

_WORDS = 2  # per entry: key ^ value, value
_WAYS = 8  # entries in which a key may stand: two lines of the processor's cache
_LOW = (1 << 32) - 1


def key_of(*names: str) -> int:
    """The 64 bits that stand for a model of a variant."""
    text = "\0".join(names).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big")


def mark_of(instance: str) -> int:
    """The 32 bits that stand for an instance; never 0."""
    return int.from_bytes(blake2b(instance.encode(), digest_size=4).digest(), "big") or 1


class Board:
    """Over `memory`: 16 bytes for each model, a multiple of 128 in all, zeros at first.

    `now` is of a clock that all who share it have.
    """

    __slots__ = ("_ways", "_words")

    def __init__(self, memory: memoryview) -> None:
        self._words = memory.cast("B").cast("Q")
        self._ways = len(self._words) // (_WORDS * _WAYS)

    def find(self, key: int) -> tuple[int, int] | None:
        """The instance's mark and the second of the clock at which the model was sent there."""
        words = self._words
        for at in self._entries(key):
            value = words[at + 1]
            if words[at] == key ^ value:
                return value >> 32, value & _LOW
        return None

    def note(self, key: int, mark: int, now: float) -> None:
        """The model is sent to that instance."""
        words = self._words
        oldest, oldest_at = 0, _LOW + 1
        for at in self._entries(key):
            value = words[at + 1]
            if words[at] == key ^ value:
                oldest = at
                break
            if value & _LOW < oldest_at:
                oldest, oldest_at = at, value & _LOW
        value = mark << 32 | int(now) & _LOW
        words[oldest + 1] = value
        words[oldest] = key ^ value

    def _entries(self, key: int) -> range:
        first = key % self._ways * _WORDS * _WAYS
        return range(first, first + _WORDS * _WAYS, _WORDS)
