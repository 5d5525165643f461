"""`modelplex check`: the conformance report of a container, as a table or as JSON."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import click

from modelplex.check.outcomes import CouldNotRun, Result
from modelplex.check.runs import Plan, run, select
from modelplex.check.world import Given
from modelplex.cli.output import json_option, say, show_json

_MARKS = {"passed": ("ok", "green"), "failed": ("FAILED", "red"), "skipped": ("skipped", "yellow")}
_EXISTING = click.Path(path_type=Path, exists=True, file_okay=False, resolve_path=True)
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.argument("container", nargs=-1, required=True, metavar="URL | -- COMMAND [ARGUMENTS]...")
@click.option("--model", type=_EXISTING, help="A model for containers of other kinds.")
@click.option("--body", type=_FILE, help="A request that --model can answer.")
@click.option("--content-type", default="application/octet-stream", help="Of --body.")
@click.option("--folder", type=_EXISTING, help="For the checker's models; a mounted one.")
@click.option("--log", type=click.Path(path_type=Path), help="A file for the command's output.")
@click.option("--only", multiple=True, metavar="CHECK", help="Run this one; may be repeated.")
@click.option("--skip", multiple=True, metavar="CHECK", help="Leave this one out; repeatable.")
@click.option(
    "--timeout", default=60.0, type=click.FloatRange(min=0.1), help="Seconds for one request."
)
@json_option
def check(
    *,
    container: tuple[str, ...],
    model: Path | None,
    body: Path | None,
    content_type: str,
    folder: Path | None,
    log: Path | None,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    timeout: float,
    as_json: bool,
) -> None:
    """Check that a container keeps the contract of multi-model containers.

    A container is an address (http://localhost:8080) or, after --, a command that starts one; the
    command gets SAGEMAKER_MULTI_MODEL and SAGEMAKER_BIND_TO_PORT and is ended afterwards. The exit
    status is 0 when nothing failed, 1 when something did, 2 when there was nothing to check.
    """
    if body and not model:
        raise click.UsageError("--body is a request for --model; give both")
    request = body.read_bytes() if body else b""
    given = Given(model, request, content_type) if model else None
    address = container[0] if len(container) == 1 and "://" in container[0] else ""
    results: list[Result] = []
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the container ends with us

    def report(result: Result) -> None:
        results.append(result)
        say(f"{result.check.name}: {result.verdict} ({result.seconds:.1f} s)")

    try:
        command = () if address else container
        plan = Plan(address, command, given, folder, log, timeout, select(only, skip))
        asyncio.run(run(plan, report))
    except CouldNotRun as reason:
        say(f"could not check: {reason}")
        sys.exit(2)
    (show_json if as_json else _show)(_document(" ".join(container), results))
    sys.exit(any(result.verdict == "failed" for result in results))


def _document(container: str, results: list[Result]) -> dict[str, Any]:
    counts = Counter(result.verdict for result in results)
    return {
        "container": container,
        **{verdict: counts[verdict] for verdict in ("passed", "failed", "skipped")},
        "checks": [
            {
                "name": result.check.name,
                "result": result.verdict,
                "seen": result.seen,
                "contract": result.check.contract,
                "source": result.check.source,
                "seconds": round(result.seconds, 3),
            }
            for result in results
        ],
    }


def _show(document: dict[str, Any]) -> None:
    from rich import box  # noqa: PLC0415 (80 ms)
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column, share in (("check", None), ("result", None), ("seen", 3), ("contract", 2)):
        table.add_column(column, ratio=share, no_wrap=share is None, overflow="fold")
    for row in document["checks"]:
        mark, colour = _MARKS[row["result"]]
        contract = Text(row["contract"]).append(f"\n{row['source']}", style="dim")
        table.add_row(row["name"], Text(mark, style=colour), Text(row["seen"]), contract)
    width = None if sys.stdout.isatty() else 140
    console = Console(width=width, highlight=False)
    console.print(table)
    console.print("{passed} passed, {failed} failed, {skipped} skipped".format(**document))
