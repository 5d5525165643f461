"""Run inside an image's Python at build: import the handler, tell what it needed.

    python -I probe.py CODE_FOLDER HANDLER

The last line of stdout is JSON: {"preload": [...]}, the modules that the image's own code imports
by name and does not contain, or {"error": "..."}. Standard library only, Python 3.8 and later.
"""

from __future__ import annotations

import builtins
import importlib
import json
import os
import runpy
import sys
import traceback
from typing import Any

_HERE = os.path.dirname(os.path.abspath(__file__))
_RUNTIME = os.path.join(os.path.dirname(_HERE), "runtime", "__main__.py")


def main(folder: str, handler: str) -> dict[str, Any]:
    """What importing the handler took, or the error that it ended with."""
    folder = os.path.realpath(folder)
    runpy.run_path(_RUNTIME)["bootstrap"]()  # handlers may import modelplex.toolkit
    sys.path.insert(0, folder)
    name, _, attribute = handler.partition(":")
    imported: list[str] = []
    builtins.__import__ = _recording(builtins.__import__, folder, imported)
    try:
        module = importlib.import_module(name[:-3] if name.endswith(".py") else name)
    except BaseException:  # SystemExit too: whatever it is, the user is to read it
        return {"error": traceback.format_exc()}
    if attribute and not hasattr(module, attribute):
        return {"error": f"{name} has no {attribute!r}"}
    return {"preload": [each for each in dict.fromkeys(imported) if not _inside(each, folder)]}


def _recording(original: Any, folder: str, imported: list[str]) -> Any:
    """`__import__` that also notes what modules in `folder` ask for."""

    def record(
        name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
    ) -> Any:
        module = original(name, globals, locals, fromlist, level)
        if level == 0 and str((globals or {}).get("__file__", "")).startswith(folder + os.sep):
            inner = [f"{name}.{each}" for each in fromlist or ()]
            imported.extend([name, *(each for each in inner if each in sys.modules)])
        return module

    return record


def _inside(name: str, folder: str) -> bool:
    spec = getattr(sys.modules.get(name.partition(".")[0]), "__spec__", None)
    places = [getattr(spec, "origin", None) or ""]
    places += list(getattr(spec, "submodule_search_locations", None) or [])
    return any(each.startswith(folder + os.sep) or each == folder for each in places)


if __name__ == "__main__":
    answer = main(sys.argv[1], sys.argv[2])
    sys.stdout.flush()
    print("\n" + json.dumps(answer), flush=True)
    os._exit(0)  # a handler's threads must not hold the build up
