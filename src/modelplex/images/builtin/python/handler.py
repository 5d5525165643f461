"""The inference toolkit alone: every function that matters is the model's own."""

from __future__ import annotations

from typing import Any

import numpy  # noqa: F401  the codecs use it: imported once, for all models

from modelplex.toolkit.default_handler_service import DefaultHandlerService

_service = DefaultHandlerService()


def handle(data: Any, context: Any) -> Any:
    """Without data: loads the model. With: answers."""
    if data is None:
        return _service.initialize(context)
    return _service.handle(data, context)
