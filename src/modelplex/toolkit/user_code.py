"""Makes the code that a model brings along importable: `code/` in the model's folder."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from types import ModuleType

from modelplex.toolkit import trust

_STDLIB = os.path.join(os.path.dirname(os.path.abspath(os.__file__)), "")


def offer(model_dir: str) -> None:
    """Puts `code/` in front of the search path and forgets modules that it has its own of.

    Such modules may be another model's, or a package that was imported beforehand. What is part of
    Python itself stays. Raises GenericInferenceToolkitError where code of models is refused.
    """
    folder = os.path.join(os.path.abspath(model_dir), "code")
    if not os.path.isdir(folder):
        return
    trust.require("The folder code/ of the model")
    sys.path[:] = [folder, *(place for place in sys.path if place != folder)]
    importlib.invalidate_caches()
    for entry in os.listdir(folder):
        name = entry[:-3] if entry.endswith(".py") else entry
        module = sys.modules.get(name)
        if module is not None and _replaces(os.path.join(folder, entry), module):
            for loaded in [m for m in sys.modules if m == name or m.startswith(name + ".")]:
                del sys.modules[loaded]


def find(program: str) -> ModuleType | None:
    """Imports the user's module, `inference` or `folder/inference`; None where there is none."""
    folder, name = os.path.split(program)
    if folder:
        sys.path.insert(0, os.path.join(sys.path[0], folder))
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:  # the package that it should be in
        return None
    return None if spec is None else importlib.import_module(name)


def _replaces(path: str, module: ModuleType) -> bool:
    """Whether an import would find what lies at `path`, and not what `module` was made from."""
    whole = path.endswith(".py") or os.path.isfile(os.path.join(path, "__init__.py"))
    place = getattr(module, "__file__", None)
    if not whole and place is None:  # folders without __init__.py: one module of all on the path
        place = next(iter([*getattr(module, "__path__", ())][::-1]), None)
        whole = os.path.isdir(path)
    if not whole or place is None:
        return False
    ours = place == path or place.startswith(os.path.join(path, ""))
    return not ours and ("-packages" in place or not place.startswith(_STDLIB))
