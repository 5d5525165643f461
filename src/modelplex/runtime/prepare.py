"""A process that prepares an artifact for the image's handler, once, before any model is loaded.

forked -> PREPARE -> the image's function called with the artifact's folder -> LOADED | LOAD_FAILED

The function may add to the folder: what takes long and is the same for each load of the artifact.
"""

from __future__ import annotations

import os
import sys

from modelplex.runtime import frames, handlers
from modelplex.runtime.link import Link
from modelplex.runtime.model import load_failure


def serve(link: Link, order: frames.Frame) -> None:
    """Carries out the order and reports. Returns or raises SystemExit to end."""
    values = order.values()
    try:
        run(values["function"], values["code"], values["folder"])
    except SystemExit:
        raise
    except BaseException as error:  # whatever it is, the host must hear of it
        status, message = load_failure(error)
        link.report(frames.LOAD_FAILED, status=status, message=message)
    else:
        link.report(frames.LOADED)


def run(function: str, code: str, folder: str) -> None:
    """Calls `function` (`module.py:function`, in the folder `code`) with the artifact's folder,
    which is the working directory. Raises HandlerError, and whatever the function raises."""
    sys.dont_write_bytecode = True
    os.chdir(folder)
    handlers.set_path([code])
    module, attribute = handlers.import_handler(function, [code])
    prepare = getattr(module, attribute, None)
    if not callable(prepare):
        raise handlers.HandlerError(f"{module.__name__} has no function {attribute}(model_dir)")
    prepare(folder)
