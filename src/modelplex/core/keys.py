"""What a model is called inside: the name that requests use, and for its later versions more.

A model's first artifact goes by its name alone. Another version of it, loaded beside the first, has
a key of its own: the name, a line feed (which no TargetModel can contain) and the version.
"""

from __future__ import annotations

_BETWEEN = "\n"


def key_of(name: str, version: str) -> str:
    """The key of a version of a model."""
    return f"{name}{_BETWEEN}{version}"


def name_of(key: str) -> str:
    """The name that requests use for this model, whichever version it is."""
    return key.partition(_BETWEEN)[0]


def version_of(key: str) -> str:
    """The version in a key; "" for a model's first artifact."""
    return key.partition(_BETWEEN)[2]
