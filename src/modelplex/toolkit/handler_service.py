"""The default service as a handler of the function style: `modelplex/toolkit/handler_service.py`.

Multi Model Server reports a lack of memory while loading for this style only.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from modelplex.toolkit.default_handler_service import DefaultHandlerService

# A server that imports this file by its place puts the folder on the search path, where our
# `errors` and `environment` would come before a model's modules of these names.
_here = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [place for place in sys.path if os.path.abspath(place) != _here]

_service = DefaultHandlerService()


def handle(data: Any, context: Any) -> Any:
    """Without data: loads the model. With: answers."""
    if data is None:
        return _service.initialize(context)
    return _service.handle(data, context)
