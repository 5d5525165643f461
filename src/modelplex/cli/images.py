"""`modelplex build` and `modelplex images`: handler images of a data folder."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import click

from modelplex import settings as settings_file
from modelplex.cli.output import ago, folder_option, json_option, show_json, show_table
from modelplex.cli.progress import Progress
from modelplex.images import build as builder
from modelplex.images.environment import BuildFailed
from modelplex.images.recipe import RecipeError
from modelplex.images.store import BadName, BuiltImage, ImageStore


@click.command()
@click.argument(
    "folder", type=click.Path(exists=True, file_okay=False, path_type=Path, resolve_path=True)
)
@click.option("-t", "--tag", "name", required=True, metavar="NAME[:TAG]", help="Its name.")
@folder_option
@json_option
def build(folder: Path, name: str, data: Path | None, as_json: bool) -> None:
    """Build a handler image out of FOLDER and its image.toml; once per content."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: a build cleans up
    try:
        with Progress() as progress:
            built = builder.build(_store(data), folder, name, progress.show)
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


@click.group(invoke_without_command=True)
@folder_option
@json_option
@click.pass_context
def images(ctx: click.Context, data: Path | None, as_json: bool) -> None:
    """List the images; `rm` and `prune` take them away."""
    ctx.obj = _store(data)
    if ctx.invoked_subcommand is not None:
        return
    found = ctx.obj.all()
    if as_json:
        show_json([_row(image) for image in found])
        return
    heads = ["NAME", "HASH", "PYTHON", "HANDLER", ">MODELS/WORKER", "BUILT"]
    show_table(heads, [_line(image) for image in found], "No images: modelplex build.")


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


def _line(image: BuiltImage) -> list[str]:
    name, version, handler = image.name, image.python_version, image.handler
    shared, built = str(image.models_per_worker), ago(image.built_at)
    return [name, image.hash[:12], version, handler, shared, built]


def _row(image: BuiltImage) -> dict[str, object]:
    return {
        "name": image.name,
        "hash": image.hash,
        "python": image.python_version,
        "interpreter": str(image.python),
        "handler": image.handler,
        "preload": list(image.preload),
        "environment": image.environment,
        "models_per_worker": image.models_per_worker,
        "share_identical": image.share_identical,
        "built_at": image.built_at,
    }


def _in_use(data: Path) -> set[str]:
    """The hashes of images that an instance has, as its spec.json says."""
    specs = [json.loads(path.read_text()) for path in data.glob("instances/*/spec.json")]
    return {Path(spec["image"]["folder"]).parent.name for spec in specs}
