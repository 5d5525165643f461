"""Write docs/reference/config.md from the settings themselves: `python scripts/config_table.py`."""

from __future__ import annotations

from dataclasses import fields
from itertools import groupby
from pathlib import Path

from modelplex import settings

TARGET = Path(__file__).parent.parent / "docs" / "reference" / "config.md"
HEAD = """\
# Settings and limits

Written by `scripts/config_table.py` from `src/modelplex/settings.py`; do not edit.

A value is looked up in this order: option of `modelplex up` (`--NAME`, with `-` for `_`),
environment (`MODELPLEX_NAME` in capitals), TOML file (`name = value` in the file of `--config`,
else in `modelplex.toml` in the data folder), default. A list is given as several options, as a
TOML list, or with `:` between its parts in the environment. Sizes are in bytes unless the name
says `mib`, times in seconds.
"""


def table() -> str:
    """The whole page."""
    documentation = settings.documentation()
    rows = [(*documentation[each.name], each.name) for each in fields(settings.Settings)]
    parts = [HEAD]
    for section, group in groupby(rows, key=lambda row: row[0]):
        title = section[0].upper() + section[1:]
        parts.append(f"\n## {title}\n\n| name | default | |\n|---|---|---|\n")
        parts += [f"| `{name}` | {_default(name)} | {text} |\n" for _, text, name in group]
    return "".join(parts)


def _default(name: str) -> str:
    value = getattr(settings.Settings(), name)
    match value:
        case "" | ():
            return "none"
        case bool():
            return f"`{str(value).lower()}`"
        case Path():
            return "`~/.modelplex`"
        case int() if abs(value) >= 10_000:
            return f"`{value:,}`".replace(",", "_")
    return f"`{value}`"


if __name__ == "__main__":
    TARGET.write_text(table())
