"""What commands share on the way in and out: options, JSON, tables, sizes and times."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from modelplex.cli import target as targets

data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="The platform's data folder; else AWS_ENDPOINT_URL, MODELPLEX_DATA or ~/.modelplex.",
)
folder_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="The data folder (MODELPLEX_DATA, ~/.modelplex).",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def complete_endpoint(
    ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The endpoints' names; none, without a word, where there is no platform to ask."""
    try:
        names = targets.endpoint_names(targets.find(ctx.params.get("data")))
    except Exception:  # in the middle of somebody's command line nothing may be printed
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


endpoint_argument = click.argument("name", shell_complete=complete_endpoint)


def say(text: str) -> None:
    """A line for the person, on stderr: stdout is for what was asked."""
    click.echo(text, err=True)


def show_json(document: Any) -> None:
    """JSON with times as ISO 8601."""
    click.echo(json.dumps(document, indent=2, default=_plain))


def show_table(columns: list[str], rows: Iterable[list[str]], empty: str) -> None:
    """A table as wide as its content, or a sentence on stderr if there is nothing to show."""
    from rich import box  # noqa: PLC0415 (80 ms)
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=box.SIMPLE_HEAD if sys.stdout.isatty() else None, pad_edge=False)
    for column in columns:
        side: Any = "right" if column.startswith(">") else "left"
        table.add_column(column.removeprefix(">"), justify=side, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    if not table.row_count:
        say(empty)
        return
    Console(width=10_000, highlight=False).print(table)  # a narrow terminal wraps; nothing is cut


def size(count: int | None) -> str:
    """1234567 -> "1.2 MB"; "-" for nothing."""
    if not count:
        return "-"
    if count < 1000:
        return f"{count} B"
    amount, units = count / 1000, ["kB", "MB", "GB", "TB"]
    while amount >= 999.95 and len(units) > 1:
        amount /= 1000
        units.pop(0)
    return f"{amount:.1f} {units[0]}"


def ago(moment: float | datetime | None) -> str:
    """How long ago a moment was, in its largest unit; "-" for never."""
    if not moment:
        return "-"
    seconds = time.time() - (moment.timestamp() if isinstance(moment, datetime) else moment)
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit} ago"
    return f"{max(0.0, seconds):.0f} s ago"


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)
