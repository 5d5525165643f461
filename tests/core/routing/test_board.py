"""What gateways share: found again, bounded, harmless when half written."""

from __future__ import annotations

import random

from modelplex.core.routing.board import Board, key_of, mark_of


def board(models: int) -> Board:
    return Board(memoryview(bytearray(16 * models)))


def test_what_one_notes_all_others_find() -> None:
    """The newest note of a model is the one that counts; models and variants are told apart."""
    memory = memoryview(bytearray(1024))
    one, other = Board(memory), Board(memory)
    key, mark = key_of("e/v", "m"), mark_of("i-a")
    assert other.find(key) is None
    one.note(key, mark, 7.9)
    assert other.find(key) == (mark, 7)
    other.note(key, mark_of("i-b"), 9.0)
    assert one.find(key) == (mark_of("i-b"), 9)
    assert one.find(key_of("e/w", "m")) is None


def test_the_oldest_of_a_full_set_gives_way() -> None:
    """No more room than there is, and nobody who was just noted is lost."""
    small = board(8)
    keys = [key_of("", f"m{number}") for number in range(20)]
    for now, key in enumerate(keys):
        small.note(key, 5, float(now))
    assert [small.find(key) is not None for key in keys] == [False] * 12 + [True] * 8


def test_a_half_written_entry_is_nobodys() -> None:
    """Words of two writers do not fit together: the model counts as not asked for."""
    memory = memoryview(bytearray(128))
    words, key = memory.cast("Q"), key_of("", "m")
    whole = Board(memory)
    whole.note(key, 3, 1.0)
    at = next(number for number, word in enumerate(words) if word)
    words[at + 1] ^= 1 << 32
    assert whole.find(key) is None


def test_nobodys_key_is_taken_for_anothers() -> None:
    """However full it is, what is found is what was noted."""
    draw, shared, noted = random.Random(1), board(64), dict[int, tuple[int, int]]()
    for now in range(2000):
        key = key_of("", f"m{draw.randrange(200)}")
        assert shared.find(key) in (None, noted.get(key))
        noted[key] = (draw.randrange(1, 1 << 32), now)
        shared.note(key, noted[key][0], float(now))
