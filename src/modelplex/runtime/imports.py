"""Learns which modules are worth importing before a worker is forked, and imports them."""

from __future__ import annotations

import importlib
import itertools
import os
import sys
from types import ModuleType

_MARK = "modelplex.runtime.mark"
LEARNED_BYTES_MAX = 100_000  # of names, joined by newlines; what does not fit is not learned


def mark() -> None:
    """Notes that from here on imports are news.

    A mark among the modules, because comparing with a copy of `sys.modules` would touch every name
    in it, and with that thousands of pages that a worker shares with its zygote.
    """
    sys.modules.pop(_MARK, None)
    sys.modules[_MARK] = ModuleType(_MARK)


def learned(own_folders: list[str]) -> list[str]:
    """The modules imported since `mark`, in the order in which their imports began.

    Left out is what only these models have (files under `own_folders`) and what has no file.
    Submodules are named one by one: a framework's top module is the smaller part of its import.
    """
    inside = tuple(os.path.join(folder, "") for folder in own_folders)
    try:
        news = list(itertools.takewhile(lambda name: name != _MARK, reversed(sys.modules)))
    except RuntimeError:  # a thread of the handler is importing at this moment
        return []
    news.reverse()
    return [name for name in news if _has_a_place(name) and not _place(name).startswith(inside)]


def pack(names: list[str]) -> bytes:
    """Names as one text, at most LEARNED_BYTES_MAX long."""
    packed = "\n".join(names).encode("utf-8", "replace")
    if len(packed) <= LEARNED_BYTES_MAX:
        return packed
    return packed[:LEARNED_BYTES_MAX].rpartition(b"\n")[0]


def unpack(packed: bytes | bytearray) -> list[str]:
    """The names in a packed text."""
    return [name for name in bytes(packed).decode("utf-8").split("\n") if name]


def preload(names: list[str]) -> list[str]:
    """Imports the modules; returns a sentence for each that failed, which is not fatal."""
    failures = []
    for name in names:
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # third-party code: anything can come out
            failures.append(f"cannot import {name} beforehand: {type(error).__name__}: {error}")
    return failures


def _has_a_place(name: str) -> bool:
    spec = getattr(sys.modules.get(name), "__spec__", None)
    return spec is not None and spec.has_location and spec.name == name


def _place(name: str) -> str:
    return str(sys.modules[name].__spec__.origin)  # type: ignore[union-attr]
