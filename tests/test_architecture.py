"""The table of folders in ARCHITECTURE.md, held."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "modelplex"

# folder -> the folders and modules of ours that it may import
MAY_IMPORT = {
    "core": set(),
    "aws": set(),
    "http": set(),
    "runtime": set(),
    "toolkit": set(),
    "archives": set(),
    "workers": {"runtime"},
    "lanes": {"http", "runtime", "workers"},
    "images": set(),
    "images/builtin": {"toolkit"},
    "engine": set(),
    "cloudwatch": {"aws"},
    "ecr": {"aws", "http", "settings"},
    "server": {"archives", "http", "workers"},
    "check": {"http"},
    "instance": {
        *("core", "aws", "http", "archives", "runtime", "workers", "lanes", "engine"),
        *("settings", "logs"),
    },
    "gateway": {"core", "aws", "http", "lanes", "settings", "logs"},
    "control": {
        *("core", "aws", "http", "images", "engine", "cloudwatch", "ecr"),
        *("settings", "logs"),
    },
    "registry": {"ecr", "http", "settings", "logs"},
    "supervisor": {"http", "settings", "logs"},
    "sim": {"core"},
    "cli": {
        *("core", "http", "images", "ecr", "supervisor", "server", "check", "sim"),
        *("settings", "logs"),
    },
}
PURE_STANDARD = {"asyncio", "socket", "time", "random", "os", "logging", "threading", "subprocess"}


def imports(path: Path) -> set[str]:
    """Every absolute module name that a file imports, at any depth."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def ours(path: Path) -> set[str]:
    """The folders and top modules of modelplex that a file imports."""
    seconds = {name.split(".")[1] for name in imports(path) if name.startswith("modelplex.")}
    return {name for name in seconds if (SOURCE / name).is_dir() or is_module(name)}


def is_module(name: str) -> bool:
    """Whether `modelplex.name` is a file of ours rather than a name in the package."""
    return (SOURCE / f"{name}.py").exists()


def files(folder: str) -> set[Path]:
    """The modules in a folder, but for those of a folder in it that has a row of its own."""
    inner = [name for name in MAY_IMPORT if name.startswith(f"{folder}/")]
    apart = {path for name in inner for path in (SOURCE / name).rglob("*.py")}
    return set((SOURCE / folder).rglob("*.py")) - apart


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_folder_imports_only_what_the_table_allows(folder: str) -> None:
    """Processes meet over HTTP and frames, never by importing each other's folders."""
    for path in sorted(files(folder)):
        beyond = ours(path) - MAY_IMPORT[folder] - {folder.partition("/")[0]}
        assert not beyond, f"{path.relative_to(SOURCE)} imports {sorted(beyond)}"


def test_every_folder_is_in_the_table() -> None:
    """A new folder has to say what it may import."""
    folders = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()}
    assert folders == {name for name in MAY_IMPORT if "/" not in name}


def test_core_is_pure() -> None:
    """core/ has no I/O, no clock, no randomness, no logging."""
    for path in (SOURCE / "core").rglob("*.py"):
        roots = {name.split(".")[0] for name in imports(path)}
        assert not roots & PURE_STANDARD, f"{path.name} imports {sorted(roots & PURE_STANDARD)}"


@pytest.mark.parametrize(
    ("folder", "also"), [("core", set()), ("runtime", set()), ("toolkit", {"numpy", "scipy"})]
)
def test_what_runs_anywhere_needs_only_the_standard_library(folder: str, also: set[str]) -> None:
    """Any image's Python can run runtime/ and toolkit/, whose codecs may want more; any, core/."""
    for path in (SOURCE / folder).rglob("*.py"):
        roots = {name.split(".")[0] for name in imports(path)} - {"modelplex", "", *also}
        beyond = roots - sys.stdlib_module_names
        assert not beyond, f"{folder}/{path.name} imports {sorted(beyond)}"


def test_there_is_no_cupboard() -> None:
    """No module is named after having no subject."""
    names = {"utils", "util", "common", "helpers", "helper", "manager", "misc"}
    found = [path for path in SOURCE.rglob("*.py") if path.stem in names]
    assert not found
