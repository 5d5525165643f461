"""`modelplex up`: this process becomes the supervisor of a platform."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click

import modelplex
from modelplex import logs
from modelplex import settings as settings_file
from modelplex.ecr import names
from modelplex.http.addresses import reachable
from modelplex.settings import Settings, SettingsError
from modelplex.supervisor import folder, platform
from modelplex.supervisor.folder import FolderError
from modelplex.supervisor.platform import Ready, StartFailed


def _setting_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """One option per setting. Texts stay texts: settings.py reads and checks them all alike."""
    documentation = settings_file.documentation()
    for each in reversed(fields(Settings)):
        section, text = documentation[each.name]
        flag = "--" + each.name.replace("_", "-")
        default = getattr(Settings(), each.name)
        help_text = text if default in ("", ()) else f"{text} [{default}]"
        command = click.option(
            f"{flag}/--no-{flag[2:]}" if isinstance(default, bool) else flag,
            each.name,
            default=None,
            multiple=isinstance(default, tuple),
            help=help_text,
            hidden=section.startswith("limits"),
        )(command)
    return command


@click.command(epilog="Every limit is an option too: see docs/reference/config.md.")
@click.option(
    "--config",
    envvar=settings_file.PREFIX + "CONFIG",
    type=click.Path(path_type=Path),
    help=f"A TOML file of settings; else {settings_file.FILE_NAME} in the data folder.",
)
@_setting_options
def up(config: Path | None, **options: Any) -> None:
    """Start the platform and stay in the foreground; Ctrl-C stops it.

    Each option can also be set as MODELPLEX_NAME in the environment or as name = value in
    modelplex.toml in the data folder.
    """
    flags = {name: value for name, value in options.items() if value not in (None, ())}
    try:
        settings = settings_file.resolve(flags, config=config)
        logs.configure(settings)
        folder.prepare(settings.data)
        lock = folder.lock(settings)
        settings = platform.with_sizes(settings)
        shared = platform.open_port(settings)
        settings = _settle(replace(settings, port=shared.port), lock)
        asyncio.run(platform.run(settings, lock, shared, lambda ready: _announce(settings, ready)))
    except (SettingsError, FolderError, StartFailed) as error:
        raise click.ClickException(str(error)) from error


def _settle(settings: Settings, lock: int) -> Settings:
    """Everything that was left open, decided and written where the other processes read it."""
    if settings.registry:
        images = platform.choose_port(settings.host, settings.registry_port, "--registry-port")
        settings = replace(settings, registry_port=images)
    settings = folder.with_keys(settings)
    folder.note(lock, settings)
    folder.clean_run(settings.data)
    folder.write_private(settings.data / "settings.json", settings.as_document())
    platform.clean_environment()
    return settings


def _announce(settings: Settings, ready: Ready) -> None:
    host = reachable(settings.host)
    option = "" if settings.data == Settings().data else f" --data {settings.data}"
    lines = [
        f"modelplex {modelplex.__version__} listens on http://{host}:{settings.port}"
        f" (region {settings.region}, account {settings.account}); data: {settings.data}",
        "",
        "For your code and the aws command, in their shell:",
        f'    eval "$(modelplex env{option})"',
        "",
        f"Store: {settings.s3_endpoint or 'embedded, plain files in ' + str(settings.data / 's3')}",
        *_registry(settings),
        f"Running: {_running(settings, ready)} (this is process {os.getpid()})",
        f"Instances: {ready.status['sizing']['rule']}",
        f"Endpoints: {_endpoints(ready)}",
        "",
        "Ctrl-C stops it.",
    ]
    click.echo("\n".join(lines))


def _registry(settings: Settings) -> list[str]:
    if not settings.registry:
        return []
    address = names.address(settings)
    login = "aws ecr get-login-password | docker login --username AWS --password-stdin"
    return [f"Registry: {address} ({login} {address})"]


def _running(settings: Settings, ready: Ready) -> str:
    platforms = platform.own_names(settings)
    instances = len([name for name in ready.processes if name not in platforms])
    own = ", ".join(name for name in ready.processes if name in platforms)
    return f"{own}, {instances} instances" if instances else own


def _endpoints(ready: Ready) -> str:
    rows = [f"{name} ({each['status']})" for name, each in sorted(ready.endpoints.items())]
    return ", ".join(rows) or "none yet"
