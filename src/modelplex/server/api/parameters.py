"""Parameters of the management API: from the query or from a JSON body, checked and typed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from modelplex.server.errors import BadRequest

_FIELDS_MAX = 1000
_TEXT_MAX = 4096  # characters
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # what can be in no name and no URL
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")


class Parameters:
    """Named values as they came; each accessor raises BadRequest naming parameter and value."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    @classmethod
    def of_query(cls, query: bytes) -> Parameters:
        """From a query string; of several values of one name the first counts."""
        try:
            pairs = parse_qsl(
                query.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_FIELDS_MAX
            )
        except ValueError:
            raise BadRequest(f"The query has more than {_FIELDS_MAX} parameters.") from None
        return cls(dict(reversed(pairs)))

    @classmethod
    def of_json(cls, body: bytes) -> Parameters:
        """From a JSON object."""
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"The body is not valid JSON: {error}.") from None
        if not isinstance(document, dict):
            kind = "null" if document is None else type(document).__name__
            raise BadRequest(f"The body must be a JSON object with the parameters, not {kind}.")
        return cls(document)

    def text(self, name: str, default: str = "") -> str:
        """A text; absent or null: the default."""
        value = self._values.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise _wrong(name, "a text", value)
        if len(value) > _TEXT_MAX or _CONTROL.search(value):
            allowed = f"at most {_TEXT_MAX} characters, none of them a control character"
            raise _wrong(name, allowed, value)
        return value

    def flag(self, name: str, default: bool) -> bool:
        """`true` or `false`."""
        value = self.flag_or_none(name)
        return default if value is None else value

    def flag_or_none(self, name: str) -> bool | None:
        """`true` or `false`; absent or null: None."""
        value = self._values.get(name)
        if value is None or isinstance(value, bool):
            return value
        word = value.lower() if isinstance(value, str) else ""
        if word not in ("true", "false"):
            raise _wrong(name, "true or false", value)
        return word == "true"

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number between `least` and `most`."""
        value = self.whole_or_none(name, least, most)
        return default if value is None else value

    def whole_or_none(self, name: str, least: int, most: int) -> int | None:
        """A whole number between `least` and `most`; absent or null: None."""
        value = self._values.get(name)
        if value is None:
            return None
        number = _number(value)
        if number is None or not least <= number <= most:
            raise _wrong(name, f"a whole number from {least} to {most}", value)
        return number


def _number(value: object) -> int | None:
    match value:
        case bool():
            return None
        case int():
            return value
        case float() if value.is_integer():
            return int(value)
        case str() if _WHOLE.fullmatch(value):
            return int(value)
    return None


def _wrong(name: str, wanted: str, value: object) -> BadRequest:
    shown = json.dumps(value)
    return BadRequest(f"Parameter {name} must be {wanted}, not {shown[:200]}.")
