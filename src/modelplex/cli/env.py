"""`modelplex env`: what to export so that boto3 and `aws` speak to the platform."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import click

from modelplex import settings as settings_file
from modelplex.cli import target as targets
from modelplex.cli.output import say
from modelplex.supervisor import folder

Shell = Callable[[dict[str, str]], str]


def _posix(variables: dict[str, str]) -> str:
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())


def _fish(variables: dict[str, str]) -> str:
    def quote(value: str) -> str:
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"

    return "\n".join(f"set -gx {name} {quote(value)};" for name, value in variables.items())


def _powershell(variables: dict[str, str]) -> str:
    def quote(value: str) -> str:
        return "'" + value.replace("'", "''") + "'"

    return "\n".join(f"$Env:{name} = {quote(value)}" for name, value in variables.items())


def _json(variables: dict[str, str]) -> str:
    return json.dumps(variables, indent=2)


SHELLS: dict[str, Shell] = {
    "bash": _posix,
    "zsh": _posix,
    "fish": _fish,
    "powershell": _powershell,
    "json": _json,
}


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="The data folder (MODELPLEX_DATA, ~/.modelplex).",
)
@click.option("--shell", type=click.Choice(list(SHELLS)), default="bash", show_default=True)
def env(data: Path | None, shell: str) -> None:
    """Print what to export; for bash and zsh: eval "$(modelplex env)"."""
    path = settings_file.data_folder(data)
    target = targets.of_folder(path)
    if folder.running(path) is None:
        say(f"modelplex is not running on {path}; these are its last settings.")
    variables = {
        "AWS_ENDPOINT_URL": target.endpoint,
        "AWS_DEFAULT_REGION": target.region,
        "AWS_REGION": target.region,
        "AWS_ACCESS_KEY_ID": target.access_key,
        "AWS_SECRET_ACCESS_KEY": target.secret_key,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    click.echo(SHELLS[shell](variables))
