"""What is done where the user's module has no function of its own."""

from __future__ import annotations

import os
from typing import Any

from modelplex.toolkit import content_types, decoder, encoder
from modelplex.toolkit.environment import Environment
from modelplex.toolkit.errors import UnsupportedAcceptError

_WILDCARDS = {"application/*": content_types.JSON, "text/*": content_types.CSV}


class DefaultInferenceHandler:
    """To be extended, or replaced function by function in the user's module.

    Names and signatures as in the SageMaker Inference Toolkit's class. A subclass may also have
    `default_pre_model_fn` and `default_model_warmup_fn`. One that sets `batches` gets the rows of
    many requests in one call of `default_predict_fn`, where the user's module overrides none of the
    functions (`batching.py` says what counts as rows), and may have a `default_rows_fn` that makes
    them in place of `default_input_fn`.
    """

    batches = False

    def default_model_fn(self, model_dir: str, context: Any = None) -> Any:
        """Loading a model is the user's business."""
        module = f"{Environment().module_name}.py"
        place = os.path.join(model_dir, "code", module)
        raise NotImplementedError(f"Please provide a model_fn implementation in {place}.")

    def default_input_fn(self, input_data: Any, content_type: str, context: Any = None) -> Any:
        """The body as an array."""
        return decoder.decode(input_data, content_type)

    def default_predict_fn(self, data: Any, model: Any, context: Any = None) -> Any:
        """Predicting is the user's business."""
        module = f"{Environment().module_name}.py"
        raise NotImplementedError(f"Please provide a predict_fn implementation in code/{module}.")

    def default_output_fn(self, prediction: Any, accept: str, context: Any = None) -> Any:
        """The prediction in the best content type that is accepted and known, with its name."""
        for wanted in content_types.accepted(accept):
            name = _WILDCARDS.get(wanted, wanted)
            if name == content_types.ANY:
                name = Environment().default_accept
            if name in encoder.SUPPORTED_CONTENT_TYPES:
                return encoder.encode(prediction, name), name
        raise UnsupportedAcceptError(accept)
