"""A stand-in for the package `mms`, for handlers that import from it in an image without it.

Multi Model Server runs handlers with its own package on the path, so that they may say
`from mms.service import PredictionException`. An image here need not have it installed: a finder at
the end of the search offers the few modules that handlers use. A real `mms` is found before it.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from types import ModuleType
from typing import Any

from modelplex.runtime import context, metrics


class PredictionException(Exception):
    """Raised by a handler to answer with a message and a status of its own."""

    def __init__(self, message: str, error_code: int = 500) -> None:
        super().__init__(message)
        self.message = message
        self.error_code = error_code

    def __str__(self) -> str:
        return f"{self.message} : {self.error_code}"


MODULES: dict[str, dict[str, Any]] = {
    "mms": {"__version__": context.SERVER_VERSION},
    "mms.service": {"PredictionException": PredictionException},
    "mms.context": {"Context": context.Context, "RequestProcessor": context.RequestProcessor},
    "mms.metrics": {},
    "mms.metrics.dimension": {"Dimension": metrics.Dimension},
    "mms.metrics.metric": {"Metric": metrics.Metric},
    "mms.metrics.metrics_store": {"MetricsStore": metrics.MetricsStore},
}


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds and fills the modules above."""

    def find_spec(
        self, fullname: str, path: Any, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A module of the stand-in; None for all others, so that the import fails as ever."""
        if fullname not in MODULES:
            return None
        is_package = any(name.startswith(fullname + ".") for name in MODULES)
        return importlib.machinery.ModuleSpec(fullname, self, is_package=is_package)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__.update(MODULES[module.__name__])


def offer() -> None:
    """Puts the finder behind all others."""
    sys.meta_path.append(Finder())
