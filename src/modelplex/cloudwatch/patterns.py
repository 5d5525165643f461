"""Filter patterns: which lines FilterLogEvents answers with.

A pattern is made of terms: `word` and `"a phrase"` must all be in the line, `-word` must not, and
of `?word ?other` at least one must; case matters. Patterns over JSON fields (`{…}`), over columns
(`[…]`) and regular expressions (`%…%`) are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from modelplex.aws.errors import InvalidParameterException

_TERM = re.compile(r'([?-]?)(?:"((?:[^"\\]|\\.)*)"|(\S+))')

Match = Callable[[str], bool]


def pattern(text: str) -> Match:
    """A filter pattern as a test of lines. Raises InvalidParameterException for other kinds."""
    if text.strip()[:1] in ("{", "[", "%"):
        raise InvalidParameterException(
            f"The filter pattern '{text}' is of a kind that modelplex does not support. "
            'Supported are words, "phrases", -word (not) and ?word ?other (any).'
        )
    terms: dict[str, list[str]] = {"": [], "-": [], "?": []}
    for sign, phrase, word in _TERM.findall(text):
        term = re.sub(r"\\(.)", r"\1", phrase) if phrase else word
        if term:
            terms[sign].append(term)
    every, none, some = terms[""], terms["-"], terms["?"]
    if some and (every or none):
        raise InvalidParameterException(
            f"The filter pattern '{text}' mixes ?word with other terms, which has no clear meaning."
        )
    return lambda line: (
        all(term in line for term in every)
        and not any(term in line for term in none)
        and (not some or any(term in line for term in some))
    )
