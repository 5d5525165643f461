"""The file of learned imports is a cache: shared, bounded, and never an obstacle."""

from __future__ import annotations

import json

import pytest

from modelplex.runtime.imports import LEARNED_BYTES_MAX
from modelplex.workers.learning import Learned


def test_names_are_kept_in_order(tmp_path):
    """And found again by the next pool."""
    path = tmp_path / "learned.json"
    Learned(path).add(["b", "a"])
    again = Learned(path)
    again.add(["a", "c"])
    assert Learned(path).names == ("b", "a", "c")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"modules": 3}', '{"modules": [1, "a\\nb"]}', "\xff"]
)
def test_a_damaged_file_is_as_good_as_none(tmp_path, text):
    """It is ignored, and written anew."""
    path = tmp_path / "learned.json"
    path.write_text(text, "latin-1")
    learned = Learned(path)
    assert learned.names == ()
    learned.add(["a"])
    assert json.loads(path.read_text()) == {"modules": ["a"]}


def test_a_file_that_cannot_be_written_is_no_error(tmp_path):
    """The names live on in memory."""
    learned = Learned(tmp_path / "nowhere" / "learned.json")
    learned.add(["a"])
    assert learned.names == ("a",)


def test_there_is_a_limit(tmp_path):
    """What does not fit into one order to a zygote is not learned."""
    learned = Learned(None)
    learned.add(f"module{n:090}" for n in range(5000))
    assert 900 < len(learned.names) < LEARNED_BYTES_MAX / 90


def test_forgetting_empties_the_file(tmp_path):
    """For names that a zygote could not live with."""
    path = tmp_path / "learned.json"
    learned = Learned(path)
    learned.add(["a"])
    learned.forget()
    assert Learned(path).names == ()
