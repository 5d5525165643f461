"""Files of Java properties: the syntax of `java.util.Properties`, and variables in values."""

from __future__ import annotations

import pytest

from modelplex.server.config import ConfigError
from modelplex.server.start.properties import parse, substituted


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=b", {"a": "b"}),
        ("  a : b  ", {"a": "b"}),
        ("a b c", {"a": "b c"}),
        ("a==b", {"a": "=b"}),
        ("a = = b", {"a": "= b"}),
        ("a", {"a": ""}),
        ("=b", {"": "b"}),
        ("# a=b\n! c=d\n\n   \n  # e=f\ng=h", {"g": "h"}),
        ("a=1\na=2", {"a": "2"}),
        ("a=1\r\nb=2\rc=3", {"a": "1", "b": "2", "c": "3"}),
        ("a=x\\\n    y\\\r\n  z", {"a": "xyz"}),
        ("a=x\\\\\nb=y", {"a": "x\\", "b": "y"}),
        ("a=x\\", {"a": "x"}),
        (r"a\=b\:c\ d=e", {"a=b:c d": "e"}),
        (r"a=\u00e9\t\q", {"a": "é\tq"}),
        ("a=http://x:1/y?z=1", {"a": "http://x:1/y?z=1"}),
        ("# x \\\na=b", {"a": "b"}),
    ],
)
def test_the_syntax_is_javas(text: str, expected: dict[str, str]) -> None:
    """Separators, comments, continuations and escapes are those of `Properties.load`."""
    assert parse(text.encode()) == expected


def test_both_encodings_are_read() -> None:
    """UTF-8, as editors write it, and Latin-1, as Java has it."""
    assert parse("a=é".encode()) == parse("a=é".encode("latin-1")) == {"a": "é"}


def test_a_bad_escape_is_refused() -> None:
    """The message shows it."""
    with pytest.raises(ConfigError, match=r"four hexadecimal digits must follow \\u"):
        parse(rb"a=\u12")


def test_variables_are_put_in() -> None:
    """More than one in a value, and nothing else with dollars."""
    environ = {"A": "1$$", "B": "\\2"}
    assert substituted("p", "x$$A$$y$$B$$", environ, "f") == "x1$$y\\2"
    assert substituted("p", "$A$ $$", environ, "f") == "$A$ $$"


def test_an_unset_variable_is_an_error() -> None:
    """It names the property, the file and the variable."""
    with pytest.raises(ConfigError, match=r"^port in x.properties: the variable NO is not set\.$"):
        substituted("port", "1$$NO$$", {}, "x.properties")
