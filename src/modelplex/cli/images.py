"""`modelplex build` and `modelplex images`: the images of a data folder."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import click

from modelplex import settings as settings_file
from modelplex.cli.output import ago, folder_option, json_option, show_json, show_table
from modelplex.cli.progress import Progress
from modelplex.images import build as builder
from modelplex.images import builtin_images
from modelplex.images.environment import BuildFailed
from modelplex.images.recipe import RecipeError
from modelplex.images.store import BadName, BuiltImage, ImageStore


@click.command()
@click.argument(
    "folder",
    required=False,
    type=click.Path(exists=True, file_okay=False, path_type=Path, resolve_path=True),
)
@click.option("-t", "--tag", "name", metavar="NAME[:TAG]", help="The name of FOLDER's image.")
@click.option(
    "--builtin",
    type=click.Choice(builtin_images.names()),
    help="Instead of FOLDER: build modelplex/NAME now, not when it is first used.",
)
@folder_option
@json_option
def build(
    folder: Path | None, name: str | None, builtin: str | None, data: Path | None, as_json: bool
) -> None:
    """Build an image out of FOLDER and its image.toml; once per content."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: a build cleans up
    try:
        with Progress() as progress:
            built = _build(_store(data), folder, name, builtin, progress)
    except (BadName, RecipeError) as error:
        raise click.ClickException(str(error)) from error
    except BuildFailed as error:
        said = "\n" + error.tail if error.tail else ""
        raise click.ClickException(f"{error}{said}\nNothing was kept of this build.") from error
    if as_json:
        show_json({**_row(built.image), "built": built.fresh, "seconds": built.seconds})
        return
    what = "built" if built.fresh else "already built"
    click.echo(f"{built.image.name} {what} in {built.seconds:.2f} s ({built.image.hash})")


def _build(
    store: ImageStore,
    folder: Path | None,
    name: str | None,
    builtin: str | None,
    progress: Progress,
) -> builder.Built:
    """Raises UsageError unless there is a folder with a name, or a built-in image's name."""
    if builtin and not (folder or name):
        return builtin_images.make(store, builtin, progress.show)
    if builtin or not (folder and name):
        raise click.UsageError("Write FOLDER and -t NAME, or --builtin NAME alone.")
    builtin_images.check_free(name)
    return builder.build(store, folder, name, progress.show)


@click.group(invoke_without_command=True)
@folder_option
@json_option
@click.pass_context
def images(ctx: click.Context, data: Path | None, as_json: bool) -> None:
    """List the images; `rm` and `prune` take them away."""
    ctx.obj = _store(data)
    if ctx.invoked_subcommand is not None:
        return
    rows = [*_builtin_rows(ctx.obj), *_own_rows(ctx.obj)]
    if as_json:
        show_json(rows)
        return
    heads = ["NAME", "HASH", "PYTHON", "RUNS", ">MODELS/WORKER", "BUILT"]
    show_table(heads, [_line(row) for row in rows], "No images: modelplex build.")


@images.command()
@click.argument("name")
@click.pass_obj
def rm(store: ImageStore, name: str) -> None:
    """Forget a name. What runs goes on; `prune` deletes what nothing needs any more."""
    try:
        found = store.remove(name)
    except BadName as error:
        raise click.ClickException(str(error)) from error
    if not found:
        raise click.ClickException(f"There is no image {name!r}: see `modelplex images`.")


@images.command()
@click.pass_obj
def prune(store: ImageStore) -> None:
    """Delete images without a name that no instance runs."""
    for digest in store.prune(_in_use(store.root.parent)):
        click.echo(digest)


def _store(data: Path | None) -> ImageStore:
    return ImageStore(settings_file.data_folder(data) / "images")


def _builtin_rows(store: ImageStore) -> list[dict[str, Any]]:
    """The built-in images of this version, built or not."""
    rows: list[dict[str, Any]] = []
    for each in builtin_images.names():
        name, digest = builtin_images.full_name(each), builtin_images.digest(each)
        image = store.read(digest, name)
        rows.append(_row(image) if image else {"name": name, "hash": digest, "built_at": None})
    return rows


def _own_rows(store: ImageStore) -> list[dict[str, Any]]:
    """Images that were built out of users' folders."""
    return [_row(each) for each in store.all() if not each.name.startswith(builtin_images.PREFIX)]


def _line(row: dict[str, Any]) -> list[str]:
    if row["built_at"] is None:
        return [row["name"], row["hash"][:12], "-", "-", "-", "when first used"]
    runs = row["handler"] or " ".join(row["command"])
    shared = str(row["models_per_worker"]) if row["handler"] else "-"
    return [row["name"], row["hash"][:12], row["python"], runs, shared, ago(row["built_at"])]


def _row(image: BuiltImage) -> dict[str, Any]:
    return {
        "name": image.name,
        "hash": image.hash,
        "kind": image.kind,
        "python": image.python_version,
        "interpreter": str(image.python),
        "handler": image.handler,
        "preload": list(image.preload),
        "environment": image.environment,
        "models_per_worker": image.models_per_worker,
        "share_identical": image.share_identical,
        "command": list(image.command),
        "batch_max": image.batch_max,
        "prepare": image.prepare,
        "built_at": image.built_at,
    }


def _in_use(data: Path) -> set[str]:
    """The hashes of images that an instance has, as its spec.json says; an engine's have none."""
    specs = [json.loads(path.read_text()) for path in data.glob("instances/*/spec.json")]
    folders = [spec["image"]["folder"] for spec in specs if "folder" in spec["image"]]
    return {Path(folder).parent.name for folder in folders}
