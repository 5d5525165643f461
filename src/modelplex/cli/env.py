"""`modelplex env` and `completion`: what a shell is to evaluate."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from modelplex import settings as settings_file
from modelplex.cli import target as targets
from modelplex.cli.output import folder_option, say
from modelplex.ecr import names
from modelplex.supervisor import folder


@click.command()
@folder_option
@click.option(
    "--shell",
    type=click.Choice(["bash", "zsh", "fish", "json"]),
    default="bash",
    show_default=True,
)
def env(data: Path | None, shell: str) -> None:
    """Print what to export; for bash and zsh: eval "$(modelplex env)"."""
    path = settings_file.data_folder(data)
    target = targets.of_folder(path)
    settings = settings_file.load(path)
    if folder.running(path) is None:
        say(f"modelplex is not running on {path}; these are its last settings.")
    variables = {
        "AWS_ENDPOINT_URL": target.endpoint,
        "AWS_DEFAULT_REGION": target.region,
        "AWS_REGION": target.region,
        "AWS_ACCESS_KEY_ID": target.access_key,
        "AWS_SECRET_ACCESS_KEY": target.secret_key,
        "AWS_EC2_METADATA_DISABLED": "true",
        "MODELPLEX_DATA": str(path.absolute()),  # for `build`, `images` and `down`
    }
    if settings.registry:
        variables["MODELPLEX_REGISTRY_ADDRESS"] = names.address(settings)  # for `docker push`
    if shell == "json":
        click.echo(json.dumps(variables, indent=2))
        return
    for name, value in variables.items():
        fish = f"set -gx {name} {_fish_quote(value)};"
        click.echo(fish if shell == "fish" else f"export {name}={shlex.quote(value)}")


def _fish_quote(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a completion script; for bash: eval "$(modelplex completion bash)"."""
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(ctx.find_root().command, {}, "modelplex", "_MODELPLEX_COMPLETE").source())
