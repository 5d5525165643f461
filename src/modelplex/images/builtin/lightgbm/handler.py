"""LightGBM: what a booster predicts for rows of numbers."""

from __future__ import annotations

from typing import Any

import boosters
import lightgbm

from modelplex.toolkit import tabular, tensors
from modelplex.toolkit.default_handler_service import DefaultHandlerService
from modelplex.toolkit.default_inference_handler import DefaultInferenceHandler
from modelplex.toolkit.errors import MalformedInputError
from modelplex.toolkit.transformer import Transformer


class Handler(DefaultInferenceHandler):
    """Rows are float64: LightGBM compares them with thresholds of that precision."""

    batches = True

    def __init__(self) -> None:
        self._layout = tabular.Layout("float64")

    def default_model_fn(self, model_dir: str, context: Any = None) -> Any:
        booster = boosters.load(model_dir)
        self._layout = tabular.Layout("float64", booster.num_feature())
        return booster

    def default_input_fn(self, input_data: Any, content_type: str, context: Any = None) -> Any:
        return tabular.rows(input_data, content_type, self._layout)

    def default_predict_fn(self, data: Any, model: Any, context: Any = None) -> Any:
        tabular.check_columns(data, model.num_feature())
        try:
            return model.predict(data, num_threads=tabular.threads(data.shape[0]))
        except (ValueError, TypeError, lightgbm.basic.LightGBMError) as error:
            raise MalformedInputError(f"The model cannot take these rows: {error}") from error

    def default_output_fn(self, prediction: Any, accept: str, context: Any = None) -> Any:
        return tensors.encode(prediction, accept)


class Service(DefaultHandlerService):
    """The image's handler."""

    def __init__(self) -> None:
        super().__init__(Transformer(Handler()))
