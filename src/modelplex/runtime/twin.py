"""Models whose files are byte-identical and that are forked from one process which has loaded them.

They differ by name and folder alone. A handler that asks for its name while it loads may have
become something else by that: it is noted, and no twin is forked from such a process.
"""

from __future__ import annotations

import os
from typing import Any

from modelplex.runtime.context import Context


class NamelessContext(Context):
    """The context of a model that is loaded for all of its twins."""

    asked_name = False

    @property
    def model_name(self) -> Any:
        """The name of one of them, which is as good as none."""
        self.asked_name = True
        return self.__dict__["model_name"]

    @model_name.setter
    def model_name(self, name: Any) -> None:
        self.__dict__["model_name"] = name


def asked_name(context: Context) -> bool:
    """Whether the handler has asked for a name that is not its own alone."""
    return isinstance(context, NamelessContext) and context.asked_name


def become(context: Context, name: str, folder: str) -> None:
    """Turns this process, forked from the one that loaded, into one of the twins."""
    os.chdir(folder)
    context.__class__ = Context
    context.model_name = name
    context.system_properties["model_dir"] = folder
    with open("/proc/self/comm", "w", encoding="utf-8", errors="replace") as file:
        file.write(("mp:" + name)[:15])
