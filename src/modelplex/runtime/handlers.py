"""Finds a model's handler and loads the model with it, in both styles of Multi Model Server.

* `module.py:function`: called once with `data=None` at load, then with each request;
* a class with `initialize(context)` and `handle(data, context)`: the named one, or the only one of
  the module when there is no function of the name (default `handle`).

Source: multi-model-server, mms/model_loader.py. Different on purpose: whatever `initialize` raises
fails the load, where MMS logs and carries on (so it never reports a model that lacks memory).
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import inspect
import json
import os
import sys
import time
from types import ModuleType
from typing import Any, Callable

from modelplex.runtime.context import Context

Entry = Callable[[Any, Any], Any]

CODE_VARIABLE = "MODELPLEX_MODEL_CODE"  # "refuse": nothing that a model brings along is run

_MANIFEST = os.path.join("MAR-INF", "MANIFEST.json")


class HandlerError(Exception):
    """A handler that cannot be found, or has not the form of one; says which and why."""


def load(
    context: Context,
    code: str,
    handler: str,
    fallback: str,
    steps: dict[str, float] | None = None,
) -> Entry:
    """Loads the model that `context` describes; returns what to call for each batch.

    `handler` wins over the one in the model's manifest, and that one over `fallback`, the image's,
    which lies in the folder `code`. `steps` learns the milliseconds of the handler's import and of
    its `initialize`. Raises HandlerError, and whatever the handler raises.
    """
    began = time.perf_counter()
    folder = context.system_properties["model_dir"]
    named, homes = choose(context, code, handler, fallback)
    set_path(places(folder, code))
    module, attribute = import_handler(named, homes)
    imported = time.perf_counter()
    entry = start(module, attribute, context)
    if steps is not None:
        ended = time.perf_counter()
        steps["import"], steps["initialize"] = _ms(imported - began), _ms(ended - imported)
    return entry


def choose(context: Context, code: str, handler: str, fallback: str) -> tuple[str, list[str]]:
    """The handler of a model, and the folders in which it may lie. Raises HandlerError."""
    own = handler or _own_handler(context.manifest)
    if own and not handler and refuses_code():
        raise HandlerError(
            f"the model names a handler of its own, {own}, and this endpoint refuses code of "
            f"models ({CODE_VARIABLE}=refuse)"
        )
    if not own and not fallback:
        raise HandlerError(
            "the model has no handler: name one in its manifest (model.handler), when it is "
            "registered, or as the server's default"
        )
    return own or fallback, [context.system_properties["model_dir"], code] if own else [code]


def refuses_code() -> bool:
    """Whether code that a model brings along must not run here."""
    return os.environ.get(CODE_VARIABLE, "").strip().lower() == "refuse"


def places(folder: str, code: str) -> list[str]:
    """Where modules of a model and of its image are looked for first."""
    return [code] if refuses_code() else [folder, code]


def set_path(folders: list[str]) -> None:
    """Puts folders in front of the module search path, and forgets modules that they shadow.

    Such modules can come only from what was imported beforehand; a model that carries, say, its own
    `six.py` gets its own, as it would in a fresh process.
    """
    sys.path[:0] = folders
    for name in importable(folders):
        for shadowed in installed(name):
            del sys.modules[shadowed]


def installed(name: str) -> list[str]:
    """A loaded module and those below it, if it comes from an installed package; else nothing."""
    module = sys.modules.get(name)
    if module is None or "-packages" + os.sep not in (getattr(module, "__file__", "") or ""):
        return []
    return [loaded for loaded in sys.modules if loaded == name or loaded.startswith(name + ".")]


def import_handler(handler: str, homes: list[str]) -> tuple[ModuleType, str]:
    """Imports the module of a handler such as `folder/module.py:function`, from `homes` if it is
    there, else by its name.

    Returns it with the name behind the colon (`handle` if there is none).
    """
    folder, name, attribute = parse(handler)
    inside = list(dict.fromkeys(os.path.join(home, folder) for home in homes if folder))
    sys.path[:0] = filter(os.path.isdir, inside)
    places = [*inside, *homes]
    spec = None if "." in name else importlib.machinery.PathFinder.find_spec(name, places)
    if spec is None or spec.loader is None or not spec.has_location:
        return importlib.import_module(name), attribute
    # Imported by place, not by name: another module of that name may be loaded, or come first.
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module, attribute


def parse(handler: str) -> tuple[str, str, str]:
    """Folder, module and name of a handler. Raises HandlerError."""
    location, _, attribute = handler.partition(":")
    folder, file = os.path.split(location)
    name = file[:-3] if file.endswith(".py") else file
    if not name:
        raise HandlerError(f"the handler {handler!r} names no module; use module.py:function")
    return folder, name, attribute or "handle"


def start(module: ModuleType, attribute: str, context: Context) -> Entry:
    """Loads the model with its handler. Raises HandlerError, and whatever the handler raises."""
    entry = getattr(module, attribute, None)
    if entry is None:
        entry = _only_class(module, attribute)
    if inspect.isclass(entry):
        return _start_class(entry, context)
    if not callable(entry):
        raise HandlerError(f"{module.__name__}.{attribute} is not a function or class")
    entry(None, context)
    context.emit_metrics()
    return entry  # type: ignore[no-any-return]


def _start_class(service: Any, context: Context) -> Entry:
    instance = service()
    handle = getattr(instance, "handle", None)
    if not callable(handle):
        raise HandlerError(f"the class {service.__name__} has no method handle(data, context)")
    initialize = getattr(instance, "initialize", None)
    if initialize is not None:
        initialize(context)
    context.emit_metrics()
    return handle  # type: ignore[no-any-return]


def _only_class(module: ModuleType, attribute: str) -> Any:
    classes = [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if member.__module__ == module.__name__ and hasattr(member, "handle")
    ]
    if len(classes) != 1:
        names = ", ".join(member.__name__ for member in classes) or "none"
        raise HandlerError(
            f"{module.__name__} has no {attribute}(data, context), and instead of one class with "
            f"handle(data, context) it has: {names}"
        )
    return classes[0]


def importable(folders: list[str]) -> set[str]:
    """The names of the modules that lie in folders."""
    names = set()
    for folder in folders:
        for entry in os.listdir(folder):
            if entry.endswith(".py"):
                names.add(entry[:-3])
            elif os.path.isfile(os.path.join(folder, entry, "__init__.py")):
                names.add(entry)
    return names


def read_manifest(folder: str) -> Any:
    """The model's manifest, None if it has none. Raises HandlerError."""
    path = os.path.join(folder, _MANIFEST)
    try:
        with open(path, "rb") as file:
            return json.load(file)
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise HandlerError(f"the model's {_MANIFEST} cannot be read: {error}") from error


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _own_handler(manifest: Any) -> str:
    model = manifest.get("model") if isinstance(manifest, dict) else None
    handler = model.get("handler", "") if isinstance(model, dict) else ""
    if not isinstance(handler, str):
        raise HandlerError(f"model.handler in the model's {_MANIFEST} is not a text: {handler!r}")
    return handler
