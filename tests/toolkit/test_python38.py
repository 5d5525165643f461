"""The toolkit runs in other people's interpreters, with what they have."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import modelplex.toolkit

SOURCES = sorted(Path(modelplex.toolkit.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_the_syntax_is_that_of_python_38_and_the_imports_are_pythons_own(source):
    """And the toolkit itself; NumPy and SciPy only inside of functions, by name."""
    for node in ast.walk(ast.parse(source.read_text(), feature_version=(3, 8))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [str(node.module)]
        for name in names:
            ours = name.startswith("modelplex.toolkit")
            assert ours or name.partition(".")[0] in sys.stdlib_module_names, name
