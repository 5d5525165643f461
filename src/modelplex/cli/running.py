"""`modelplex down` and `modelplex status`: the platform that runs on a data folder."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import click

from modelplex import settings as settings_file
from modelplex.cli import target as targets
from modelplex.cli.output import ago, data_option, json_option, say, show_json, show_table, size
from modelplex.supervisor import folder

_MARGIN_S = 15.0  # beyond the platform's own stop_timeout_s
_POLL_S = 0.1


@click.command()
@data_option
def down(data: Path | None) -> None:
    """Stop the platform, as Ctrl-C in its terminal would, and wait until it is gone."""
    path = settings_file.data_folder(data)
    holder = folder.running(path)
    if holder is None:
        say(f"Nothing runs on {path}.")
        return
    os.kill(holder.pid, signal.SIGTERM)
    deadline = time.monotonic() + settings_file.load(path).stop_timeout_s + _MARGIN_S
    while folder.running(path):
        if time.monotonic() > deadline:
            raise click.ClickException(f"Process {holder.pid} does not end: kill -9 {holder.pid}")
        time.sleep(_POLL_S)
    say(f"Stopped process {holder.pid}.")


@click.command()
@data_option
@json_option
def status(data: Path | None, as_json: bool) -> None:
    """What runs, with which settings and how much room."""
    target = targets.find(data)
    with targets.speaking(target):
        document = target.get("/modelplex/status")
    if as_json:
        show_json(document)
        return
    sizing = document["sizing"]
    click.echo(f"modelplex {document['version']} at {target.endpoint}")
    click.echo(f"Up for {document['uptime_s']:.0f} s; data: {document['settings']['data']}")
    if registry := document["registry"]:
        click.echo(f"Registry of images at {registry}")
    click.echo(sizing["rule"])
    used, memory = size(sizing["memory_bytes_used"]), size(sizing["memory_bytes"])
    click.echo(f"{sizing['instances']} instances; {used} of {memory} reserved\n")
    rows = [
        [name, str(each["pid"] or "-"), _state(each), ago(each["started_at"])]
        for name, each in document["processes"].items()
    ]
    show_table(["PROCESS", ">PID", "STATE", "STARTED"], rows, "No processes.")


def _state(process: dict[str, Any]) -> str:
    return "running" if process["running"] else process["last_exit"] or "stopped"
