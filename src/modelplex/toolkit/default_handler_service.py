"""The handler class that runs the user's functions, for model servers and to be subclassed."""

from __future__ import annotations

from typing import Any

from modelplex.toolkit import user_code
from modelplex.toolkit.transformer import Transformer


class DefaultHandlerService:
    """A handler of the class style, here and in Multi Model Server."""

    def __init__(self, transformer: Any = None) -> None:
        self._service = transformer or Transformer()

    def initialize(self, context: Any) -> None:
        """Loads the model. Raises what its functions raise, MemoryError for lack of memory."""
        model_dir = context.system_properties.get("model_dir")
        user_code.offer(model_dir)  # for transformers with an initialization of their own
        self._service.validate_and_initialize(model_dir=model_dir, context=context)

    def handle(self, data: Any, context: Any) -> list[Any]:
        """The answers to a batch of requests. Raises MemoryError."""
        answers: list[Any] = self._service.transform(data, context)
        return answers
