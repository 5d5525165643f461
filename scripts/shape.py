"""Print how long our functions and files are: `python scripts/shape.py`.

Lengths of functions are counted in lines without decorators and docstring, a function inside
another one counts for itself and for the outer one. The aim: median <= 8, p90 <= 25, none over 60;
files of 60 to 300 lines. It exits with 1 when a function is longer than 60 lines.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LONGEST_FUNCTION = 60
LONGEST_FILE = 400
Function = ast.FunctionDef | ast.AsyncFunctionDef


def length(function: Function) -> int:
    """Lines from `def` to the last statement, less those of the docstring."""
    first = function.body[0]
    docstring = ast.get_docstring(function, clean=False)
    spent = (first.end_lineno or first.lineno) - first.lineno + 1 if docstring is not None else 0
    return (function.end_lineno or function.lineno) - function.lineno + 1 - spent


def functions(path: Path) -> Iterator[tuple[int, str]]:
    """Every function of a file: its length, and where it is."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, Function):
            yield length(node), f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"


def row(name: str, paths: list[Path]) -> str:
    """One line of the table for the files of one folder."""
    lengths = sorted(size for path in paths for size, _ in functions(path)) or [0]
    lines = [len(path.read_text().splitlines()) for path in paths]
    p90 = lengths[int(len(lengths) * 0.9)]
    middle = statistics.median(lengths)
    return (
        f"{name:<14}{len(paths):>6}{sum(lines):>8}{statistics.median(lines):>9.0f}{max(lines):>6}"
        f"{len(lengths):>11}{middle:>8.0f}{p90:>6}{lengths[-1]:>6}"
    )


def table(folder: Path) -> str:
    """The table of one source tree: a line for each folder in it, and one for all."""
    groups: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*.py")):
        inside = path.relative_to(folder).parts
        groups.setdefault(inside[0] if len(inside) > 1 else "(top)", []).append(path)
    everything = [path for paths in groups.values() for path in paths]
    head = "folder         files   lines   median   max  functions  median   p90   max"
    return "\n".join([head, *(row(*group) for group in groups.items()), row("all", everything)])


def main() -> int:
    """Print the tables of `src` and `tests`, then what is too long; the exit status says so too."""
    for folder in (ROOT / "src" / "modelplex", ROOT / "tests"):
        print(f"{folder.relative_to(ROOT)}\n{table(folder)}\n")
    ours = sorted((ROOT / "src").rglob("*.py"))
    for path in ours:
        if (lines := len(path.read_text().splitlines())) > LONGEST_FILE:
            print(f"long file: {path.relative_to(ROOT)} ({lines} lines): is it two ideas?")
    long = [found for path in ours for found in functions(path) if found[0] > LONGEST_FUNCTION]
    for size, where in sorted(long, reverse=True):
        print(f"too long: {where} ({size} lines, {LONGEST_FUNCTION} at most)")
    return 1 if long else 0


if __name__ == "__main__":
    sys.exit(main())
