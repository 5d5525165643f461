"""Keeps handlers that are imported here from staying in this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def clean_imports() -> Iterator[None]:
    """Restores the search path, the loaded modules and the working directory."""
    path, modules, finders = list(sys.path), set(sys.modules), list(sys.meta_path)
    folder = os.getcwd()
    yield
    sys.path[:], sys.meta_path[:] = path, finders
    os.chdir(folder)
    for name in set(sys.modules) - modules:
        del sys.modules[name]
