"""Build an image: code and environment in a folder named by their content, made once.

    (content hash) -> there? -> tag
                      else   -> lock -> copy -> env -> requirements -> probe -> image.json -> tag

Virtual environments contain their own path, so an image is built where it will stay, under a lock;
`image.json`, written last, is what makes it an image.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from modelplex.images import environment
from modelplex.images import recipe as recipes
from modelplex.images.environment import BuildFailed
from modelplex.images.recipe import Recipe
from modelplex.images.store import FORMAT, BuiltImage, ImageStore, normal_name, write_json

Progress = Callable[[str, str], None]  # step, detail


@dataclass(frozen=True, slots=True)
class Built:
    """An image, and whether this call made it or found it there."""

    image: BuiltImage
    fresh: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that decides what the image will be."""

    source: Path
    recipe: Recipe
    python: str
    version: str

    def content_hash(self, folder: Path) -> str:
        return recipes.content_hash(folder, str(FORMAT), self.version)


def build(store: ImageStore, source: Path, name: str, progress: Progress) -> Built:
    """The image of the folder `source`, named `name`; built unless its content was built before.

    Raises BadName, RecipeError (the folder is at fault) or BuildFailed (a step did not work);
    nothing stays behind then, and the name keeps standing for what it did.
    """
    started = time.monotonic()
    normal = normal_name(name)
    what = plan(source, recipes.read(source))
    progress("hashing", str(source))
    digest = what.content_hash(source)
    fresh = store.read(digest, normal) is None and _make(store, what, digest, progress)
    store.tag(normal, digest)
    if (image := store.read(digest, normal)) is None:
        raise BuildFailed(f"the image {digest} was deleted meanwhile: build it again")
    return Built(image, fresh, time.monotonic() - started)


def plan(source: Path, recipe: Recipe) -> Plan:
    """What would be built of a folder. Raises BuildFailed where there is no such Python."""
    return Plan(source, recipe, *environment.interpreter(recipe.python))


def _make(store: ImageStore, plan: Plan, digest: str, progress: Progress) -> bool:
    """Build under the image's lock; False if somebody else did while this waited for it."""
    store.sweep()

    def on_wait() -> bool:
        progress("waiting", "for another build of the same content")
        return True

    with store.locked(digest, on_wait):
        if store.read(digest, "") is not None:
            return False
        store.delete_unfinished(digest)
        try:
            _fill(store.root / digest, plan, digest, progress)
        except BaseException:  # KeyboardInterrupt too: an unfinished folder is of no use
            store.delete_unfinished(digest)
            raise
    return True


def _fill(target: Path, plan: Plan, digest: str, progress: Progress) -> None:
    code, env, recipe = target / "code", target / "env", plan.recipe
    progress("copying", str(plan.source))
    _copy(plan.source, code)
    if plan.content_hash(code) != digest:
        raise BuildFailed(f"{plan.source} changed while it was copied: build again")
    progress("environment", plan.python)
    environment.create(plan.python, env)
    if recipe.requirements:
        progress("requirements", recipe.requirements)
        say = partial(progress, "requirements")
        environment.install(env, code, recipe.requirements, say)
    document = {
        "handler": recipe.handler,
        "preload": _try_out(env, code, recipe, progress),
        "environment": recipe.environment,
        "models_per_worker": recipe.models_per_worker,
        "share_identical": recipe.share_identical,
        "command": list(recipe.command),
        "batch_max": recipe.batch_max,
        "prepare": recipe.prepare,
        "python": plan.version,
        "built_at": time.time(),
    }
    write_json(target / "image.json", document)


def _try_out(env: Path, code: Path, recipe: Recipe, progress: Progress) -> list[str]:
    """The modules that the handler imports; for a command, only whether it is there."""
    if recipe.command:
        environment.check_command(env, code, recipe.command[0])
        return []
    progress("importing", recipe.handler)
    return environment.preload(env, code, recipe.handler)


def _copy(folder: Path, code: Path) -> None:
    code.mkdir(parents=True)
    for path in recipes.files(folder):
        target = code / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target, follow_symlinks=False)
