"""The modules of many models in one process, kept from each other.

A model's own are its handler's module and what lies in its folder or the image's: each model has
them made anew, from code that is compiled once where the file is the image's. All other modules are
the process's. A model's own modules, its search path and its folder as working directory are in
place while its namespace is entered, that is while it is loaded and while it answers.
"""

from __future__ import annotations

import itertools
import os
import sys
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from types import CodeType, ModuleType
from typing import Any

from modelplex.runtime import handlers

_codes: dict[str, CodeType] = {}  # by path


class Namespace:
    """What only one model sees. `folder` is the model's, `code` the image's."""

    __slots__ = ("_aside", "_folder", "_homes", "_last", "_modules", "_names", "_path")

    def __init__(self, folder: str, code: str, handler: str) -> None:
        """Raises HandlerError for a handler that names no module."""
        self._folder = folder
        places = dict.fromkeys((folder, code, os.path.realpath(folder), os.path.realpath(code)))
        self._homes = tuple(os.path.join(place, "") for place in places)
        own = handlers.places(folder, code)
        self._path = [*own, *sys.path]  # the process's own while this one is entered
        module = handlers.parse(handler)[1]
        beside = handlers.importable(own) - {module}
        self._names = tuple(map(sys.intern, [module, *beside]))  # the same for many models
        self._modules: dict[str, ModuleType] = {}
        self._aside: dict[str, ModuleType] = {}  # the process's, of the same names
        self._last = ""  # of all loaded modules when it was entered

    def enter(self) -> None:
        """Puts the model's things in place. Raises OSError when its folder is gone."""
        os.chdir(self._folder)
        _Loader.exempt = self._homes[0]
        sys.path, self._path = self._path, sys.path
        for name in self._names:
            if name in sys.modules:
                self._put_aside(name)
        sys.modules.update(self._modules)
        self._last = next(reversed(sys.modules))

    def leave(self) -> None:
        """Takes them away, with what it has imported of its own since."""
        modules = sys.modules
        if next(reversed(modules)) != self._last:
            self._keep_new()
        for name in self._modules:
            modules.pop(name, None)
        if self._aside:
            modules.update(self._aside)
            self._aside = {}
        sys.path, self._path = self._path, sys.path

    def close(self) -> None:
        """Empties the model's modules, so that what they hold is freed now."""
        for module in self._modules.values():
            vars(module).clear()
        self._modules.clear()
        _forget_places(self._folder)

    def _put_aside(self, name: str) -> None:
        """Removes a module of the process's that the model has its own of, with its submodules.

        As in a process of its own: what is part of Python stays, but for the handler's name.
        """
        for shadowed in handlers.installed(name) or [name][: name == self._names[0]]:
            self._aside[shadowed] = sys.modules.pop(shadowed)

    def _keep_new(self) -> None:
        news = list(
            itertools.takewhile(lambda name: name != self._last, reversed(list(sys.modules)))
        )
        for name in news:
            module = sys.modules[name]
            if name == self._names[0] or _place(module).startswith(self._homes):
                self._modules[name] = module
        _forget_places(self._folder)


class _Loader(SourceFileLoader):
    """Compiles a file once, unless it is the entered model's own."""

    exempt = ""  # the folder of that model

    def get_code(self, fullname: str) -> CodeType | None:
        path: Any = self.get_filename(fullname)
        if path.startswith(self.exempt):
            return super().get_code(fullname)
        code = _codes.get(path)
        if code is None:
            code = _codes[path] = super().get_code(fullname)  # type: ignore[assignment]
        return code


def prepare(code: str) -> None:
    """Makes this process one that keeps models apart. Once, before any is loaded.

    What lies outside of the image's folder `code` is found as before: forgetting that too would
    write into megabytes that are shared with the zygote.
    """
    finder = FileFinder.path_hook(
        (ExtensionFileLoader, EXTENSION_SUFFIXES),
        (_Loader, SOURCE_SUFFIXES),
        (SourcelessFileLoader, BYTECODE_SUFFIXES),
    )
    sys.path_hooks.insert(0, finder)
    _forget_places(code)


def _forget_places(folder: str) -> None:
    """Drops what the import system remembers of a folder and those in it."""
    inside = os.path.join(folder, "")
    known = sys.path_importer_cache
    for place in [place for place in known if os.path.join(place, "").startswith(inside)]:
        del known[place]


def _place(module: Any) -> str:
    """Where a module comes from; "" if nobody knows."""
    origin = getattr(getattr(module, "__spec__", None), "origin", None)
    if isinstance(origin, str):
        return origin
    return str(next(iter(getattr(module, "__path__", None) or ()), ""))
