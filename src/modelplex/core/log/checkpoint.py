"""A residency as text and back: where a log of facts starts from.

It is the state itself, as Python pickles it, and so belongs to the version of modelplex that wrote
it. Only what `core/` is made of is read back: a log from elsewhere cannot bring anything else. What
the shell handed in (the reasons of failures) becomes text.
"""

from __future__ import annotations

import base64
import io
import pickle
from typing import Any

from modelplex.core.residency import Residency

_OURS = "modelplex.core."
_BUILT_IN = {
    ("collections", "OrderedDict"),
    ("collections", "deque"),
    ("builtins", "set"),
    ("builtins", "frozenset"),
    ("builtins", "str"),
}


class BadCheckpoint(ValueError):
    """It is not what `take` wrote, or another version did; says what it holds."""


def take(residency: Residency) -> str:
    """The state, to be restored by the same version of modelplex. Between two facts only."""
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=5).dump(residency)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def restore(text: str) -> Residency:
    """A residency that goes on where `take` was called. Raises BadCheckpoint."""
    try:
        found = _Unpickler(io.BytesIO(base64.b64decode(text, validate=True))).load()
    except BadCheckpoint:
        raise
    except Exception as error:  # a pickle that is no pickle fails in every way
        raise BadCheckpoint(
            f"the checkpoint cannot be read, except by the version that wrote it: {error!r}"
        ) from None
    if not isinstance(found, Residency):
        raise BadCheckpoint(f"the checkpoint holds a {type(found).__name__}, no residency")
    return found


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        """What the shell gave goes as its text; functions and classes go by name, as usual."""
        kind = type(value)
        if isinstance(value, BaseException):
            return str, (str(value),)
        if kind.__module__.startswith(_OURS) or kind.__module__ in ("builtins", "collections"):
            return NotImplemented
        if isinstance(value, type):  # a class whose metaclass is not `type`: an Enum
            return NotImplemented
        return str, (str(value),)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Only what `core/` is made of."""
        ours = module.startswith(_OURS) and "." not in name
        if ours or (module, name) in _BUILT_IN:
            return super().find_class(module, name)
        raise BadCheckpoint(f"the checkpoint holds {module}.{name}, which is no part of core")
