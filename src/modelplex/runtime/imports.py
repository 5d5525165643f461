"""Learns which modules are worth importing before a worker is forked, and imports them."""

from __future__ import annotations

import importlib
import os
import sys

LEARNED_BYTES_MAX = 100_000  # of names, joined by newlines; what does not fit is not learned


def learned(before: set[str], own_folders: list[str]) -> list[str]:
    """The modules imported since `before`, in the order in which their imports began.

    Left out is what only these models have (files under `own_folders`) and what has no file.
    Submodules are named one by one: a framework's top module is the smaller part of its import.
    """
    inside = tuple(os.path.join(folder, "") for folder in own_folders)
    return [
        name
        for name in list(sys.modules)
        if name not in before and _has_a_place(name) and not _place(name).startswith(inside)
    ]


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
