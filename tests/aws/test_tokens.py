"""Tokens are good for their question, and for no other."""

from __future__ import annotations

import pytest

from modelplex.aws import tokens


def test_a_place_comes_back() -> None:
    """Whatever JSON can hold; the order of a question's members does not matter."""
    for place in ("x", ["é", 1.5], {"i-1": 7}):
        token = tokens.give({"a": 1, "b": 2}, place)
        assert tokens.read(token, {"b": 2, "a": 1}) == place


@pytest.mark.parametrize("token", ["", "x", "é", "e30=", "W10=", tokens.give("other", "x")])
def test_anything_else_is_no_place(token: str) -> None:
    """Nonsense, and the token of another question."""
    assert tokens.read(token, "question") is None
