"""Filter patterns, beyond what `test_operations` asks with them."""

from __future__ import annotations

import pytest

from modelplex.aws.errors import InvalidParameterException
from modelplex.cloudwatch.patterns import pattern


@pytest.mark.parametrize("text", ["[a, b]", "{$.x = 1}", "%[0-9]%", "?a b", "?a -b"])
def test_patterns_of_other_kinds_are_refused_by_name(text: str) -> None:
    """Rather than answered wrongly."""
    with pytest.raises(InvalidParameterException):
        pattern(text)


def test_a_quote_can_be_escaped_in_a_phrase() -> None:
    """And an empty pattern matches everything."""
    assert pattern(r'"say \"hi\""')('they say "hi" today')
    assert not pattern(r'"say \"hi\""')("they say hi today")
    assert pattern("")("anything")
    assert pattern('""')("anything")
