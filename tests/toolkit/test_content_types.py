"""Headers with content types."""

from __future__ import annotations

import pytest

from modelplex.toolkit.content_types import accepted, media_type


@pytest.mark.parametrize(
    ("value", "name"),
    [("Text/CSV; charset=utf-8", "text/csv"), (" a/b ", "a/b"), ("", ""), (None, "")],
)
def test_parameters_and_case_do_not_count(value, name):
    """Nor does white space."""
    assert media_type(value) == name


@pytest.mark.parametrize(
    ("accept", "names"),
    [
        ("a/b", ["a/b"]),
        ("a/b;q=0.2, c/d, e/f;q=x;v=1", ["c/d", "e/f", "a/b"]),
        ("a/b;q=0, ,*/*", ["*/*"]),
        (None, []),
    ],
)
def test_what_is_accepted_comes_best_first(accept, names):
    """By weight, then as written; a weight of 0 refuses."""
    assert accepted(accept) == names
