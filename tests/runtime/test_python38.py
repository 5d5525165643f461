"""The runtime runs in other people's interpreters."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import modelplex.runtime

SOURCES = sorted(Path(modelplex.runtime.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_the_syntax_is_that_of_python_38(source):
    """No match statements, no parenthesised context managers."""
    ast.parse(source.read_text(), feature_version=(3, 8))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_only_the_standard_library_is_imported(source):
    """And the runtime itself."""
    for node in ast.walk(ast.parse(source.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [str(node.module)]
        for name in names:
            ours = name.startswith("modelplex.runtime")
            assert ours or name.partition(".")[0] in sys.stdlib_module_names, name
