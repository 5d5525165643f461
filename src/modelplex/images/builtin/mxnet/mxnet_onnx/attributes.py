"""The attributes of a node, which MXNet writes as texts: `(3, 3)`, `True`, `1e-05`, `None`."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from mxnet_onnx.errors import ConversionError

_NOTHING = {"None", "", "none"}
_TRUE, _FALSE = {"True", "true", "1"}, {"False", "false", "0"}


class Attributes:
    """Each method takes what is meant where the attribute is missing. Raises ConversionError."""

    def __init__(self, texts: Mapping[str, str], node: str) -> None:
        self._texts = texts
        self._node = node  # "Convolution 'conv0'", for messages

    def text(self, name: str, default: str = "") -> str:
        """As it is written."""
        return self._texts.get(name, default)

    def integer(self, name: str, default: int | None = None) -> int:
        """A whole number; required without `default`."""
        value = self._value(name, default)
        if isinstance(value, bool | int):
            return int(value)
        raise self._wrong(name, "a whole number")

    def number(self, name: str, default: float | None = None) -> float:
        """A number; required without `default`."""
        value = self._value(name, default)
        if isinstance(value, bool | int | float):
            return float(value)
        raise self._wrong(name, "a number")

    def flag(self, name: str, default: bool) -> bool:
        """True or False, which older versions write as 1 or 0."""
        text = self._texts.get(name, str(default))
        if text in _TRUE or text in _FALSE:
            return text in _TRUE
        raise self._wrong(name, "True or False")

    def integers(self, name: str, default: tuple[int, ...] | None = ()) -> tuple[int, ...]:
        """Whole numbers; one that stands alone is a tuple of one. Required where it is None."""
        value = self._value(name, default)
        values = (value,) if isinstance(value, int) else value
        if isinstance(values, tuple | list) and all(isinstance(each, int) for each in values):
            return tuple(values)
        raise self._wrong(name, "whole numbers such as (1, 1)")

    def bounds(self, name: str) -> tuple[int | None, ...]:
        """Whole numbers, where None leaves a bound open."""
        value = self._value(name, ())
        values = value if isinstance(value, tuple | list) else (value,)
        if all(each is None or isinstance(each, int) for each in values):
            return tuple(values)
        raise self._wrong(name, "whole numbers or None")

    def choice(self, name: str, default: str, known: Mapping[str, str]) -> str:
        """What `known` says for the text."""
        text = self._texts.get(name, default)
        if text in known:
            return known[text]
        raise self._wrong(name, "one of " + ", ".join(known))

    def fixed(self, name: str, *allowed: str) -> None:
        """The attribute is missing, or has a value that the conversion is right for."""
        if (text := self._texts.get(name)) is not None and text not in {*allowed, *_NOTHING}:
            raise self._wrong(name, " or ".join(allowed) if allowed else "left out")

    def _value(self, name: str, default: Any) -> Any:
        text = self._texts.get(name)
        if text is None or text in _NOTHING:
            if default is None:
                raise ConversionError(f"{self._node} lacks the attribute {name}")
            return default
        try:
            return ast.literal_eval(text.replace("L", ""))  # (1L, 1L) by Python 2
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return _float(text)

    def _wrong(self, name: str, wanted: str) -> ConversionError:
        found = self._texts.get(name)
        return ConversionError(f"{self._node}: {name} is {found!r}, and must be {wanted}")


def _float(text: str) -> Any:
    """`inf` and `nan`, which are no Python literals; else the text itself."""
    try:
        return float(text)
    except ValueError:
        return text
