"""The `modelplex` command: a list of commands, each imported when it is asked for."""

from __future__ import annotations

import importlib

import click

import modelplex

# name -> module:object, in the order of --help; boto3 and rich are imported only by who needs them
COMMANDS = {
    "up": "modelplex.cli.up:up",
    "serve": "modelplex.cli.serve:serve",
    "down": "modelplex.cli.running:down",
    "status": "modelplex.cli.running:status",
    "env": "modelplex.cli.env:env",
    "build": "modelplex.cli.images:build",
    "images": "modelplex.cli.images:images",
    "deploy": "modelplex.cli.deploy:deploy",
    "invoke": "modelplex.cli.invoke:invoke",
    "ls": "modelplex.cli.look:ls",
    "describe": "modelplex.cli.look:describe",
    "models": "modelplex.cli.look:models",
    "explain": "modelplex.cli.explain:explain",
    "rules": "modelplex.cli.rules:rules",
    "rollback": "modelplex.cli.rules:rollback",
    "logs": "modelplex.cli.logs:logs",
    "delete": "modelplex.cli.delete:delete",
    "check": "modelplex.cli.check:check",
    "simulate": "modelplex.cli.simulate:simulate",
    "completion": "modelplex.cli.env:completion",
}


class Commands(click.Group):
    """A group whose members are imported when they are looked up."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """First sentences, whole: click would cut them to fit one line."""
        found = {name: self.get_command(ctx, name) for name in COMMANDS}
        rows = [(name, str(each.help).split("\n\n")[0]) for name, each in found.items() if each]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(
    name="modelplex", cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(modelplex.__version__, prog_name="modelplex")
def main() -> None:
    """Many models, one endpoint: SageMaker multi-model endpoints on your own machine."""
