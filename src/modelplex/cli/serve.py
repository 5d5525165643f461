"""`modelplex serve`: the model server in the foreground, without a platform around it."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import click

from modelplex.server.start.process import run
from modelplex.server.start.resolve import DEFAULT_FILE, Arguments, model

_SUFFIXES = re.compile(r"\.(mar|zip|tgz|tar\.gz|tar)$")
_REMOTE = ("http://", "https://", "s3://", "file://")


@click.command()
@click.option("--models", multiple=True, metavar="[NAME=]PATH", help="A model; may be repeated.")
@click.argument("more", nargs=-1, metavar="[[NAME=]PATH]...")
@click.option("--handler", help="For models that name none, such as model_handler.py:handle.")
@click.option("--host", help="The address to listen on [127.0.0.1].")
@click.option("--port", type=click.IntRange(1, 65535), help="One port for everything [8080].")
@click.option("--workers", type=click.IntRange(1), help="Processes per model [1].")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False),
    help="Properties, as Multi Model Server has them.",
)
def serve(
    *,
    models: tuple[str, ...],
    more: tuple[str, ...],
    handler: str | None,
    host: str | None,
    port: int | None,
    workers: int | None,
    config: str | None,
) -> None:
    """Serve models from folders and archives; Ctrl-C stops it.

    A model is invoked with POST /invocations (the only one) or /models/NAME/invoke. As a
    multi-model container of SageMaker it listens where SageMaker's variables say.
    """
    store, placed = _placed([model(text) for text in (*models, *more)])
    if not config and not _is_configured():
        port, workers = port or 8080, workers or 1
    said = {
        "default_service_handler": handler,
        "default_workers_per_model": str(workers or ""),
        "inference_address": _address(host, port),
        "management_address": _address(host, port),
    }
    overrides = tuple((name, value) for name, value in said.items() if value)
    arguments = Arguments(config, store, placed, overrides=overrides)
    sys.exit(run(lambda: arguments))


def _is_configured() -> bool:
    """Whether a file or SageMaker says where to listen."""
    variables = os.environ.get("MMS_CONFIG_FILE") or os.environ.get("SAGEMAKER_MULTI_MODEL")
    return variables not in (None, "", "false") or DEFAULT_FILE.is_file()


def _address(host: str | None, port: int | None) -> str:
    """One for everything; "" if neither is given."""
    place = host or "127.0.0.1"
    place = f"[{place}]" if ":" in place else place
    return f"http://{place}:{port or 8080}" if host or port else ""


def _placed(models: list[tuple[str, str]]) -> tuple[str | None, tuple[str, ...]]:
    """The folder that all local models lie under, and the models as the server takes them.

    Nothing outside that folder can be loaded later.
    """
    paths = [None if url.startswith(_REMOTE) else _existing(url) for _, url in models]
    local = [path for path in paths if path is not None]
    store = os.path.commonpath([path.parent for path in local]) if local else None
    placed = []
    for (name, url), path in zip(models, paths, strict=True):
        place = url if path is None else str(path.relative_to(store or "/"))
        given = name or (_SUFFIXES.sub("", path.name) if path is not None else "")
        placed.append(f"{given}={place}" if given else place)
    return store, tuple(placed)


def _existing(text: str) -> Path:
    path = Path(text).resolve()
    if not path.exists():
        raise click.ClickException(f"There is no model at {path}.")
    return path
