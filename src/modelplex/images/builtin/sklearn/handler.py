"""scikit-learn: an estimator or a pipeline, asked for `predict` or another of its methods."""

from __future__ import annotations

import os
from typing import Any

import estimators
import numpy as np

from modelplex.toolkit import tabular, tensors
from modelplex.toolkit.default_handler_service import DefaultHandlerService
from modelplex.toolkit.default_inference_handler import DefaultInferenceHandler
from modelplex.toolkit.errors import MalformedInputError, UnusableModel
from modelplex.toolkit.transformer import Transformer

METHOD_ENV = "MODELPLEX_PREDICT"
METHODS = (
    *("predict", "predict_proba", "predict_log_proba", "decision_function"),
    *("transform", "score_samples"),
)


class Handler(DefaultInferenceHandler):
    """Rows become float32 where they come as text, as in SageMaker's scikit-learn container."""

    batches = True

    def __init__(self) -> None:
        self._layout = tabular.Layout("float32")

    def default_model_fn(self, model_dir: str, context: Any = None) -> Any:
        model = estimators.load(model_dir)
        method(model)  # a model without it is of no use: better now than at each request
        self._layout = tabular.Layout("float32", getattr(model, "n_features_in_", None))
        return model

    def default_input_fn(self, input_data: Any, content_type: str, context: Any = None) -> Any:
        return tabular.rows(input_data, content_type, self._layout)

    def default_predict_fn(self, data: Any, model: Any, context: Any = None) -> Any:
        tabular.check_columns(data, getattr(model, "n_features_in_", None))
        try:
            prediction = method(model)(data)
        except ValueError as error:  # scikit-learn's own checks: NaN, infinity, a wrong shape
            line = str(error).strip().split("\n")[0]
            raise MalformedInputError(f"The model cannot take these rows: {line}") from error
        return _plain(prediction)

    def default_output_fn(self, prediction: Any, accept: str, context: Any = None) -> Any:
        return tensors.encode(prediction, accept)


def method(model: Any) -> Any:
    """The method that MODELPLEX_PREDICT names. Raises UnusableModel."""
    name = os.environ.get(METHOD_ENV) or "predict"
    found = getattr(model, name, None) if name in METHODS else None
    if found is None:
        can = [one for one in METHODS if hasattr(model, one)]
        text = f"{METHOD_ENV} is {name!r}, and this {type(model).__name__} can {', '.join(can)}."
        raise UnusableModel(text)
    return found


def _plain(prediction: Any) -> Any:
    """Labels that are texts as such an array, and sparse transforms as dense ones."""
    if hasattr(prediction, "toarray"):
        return prediction.toarray()
    if getattr(prediction, "dtype", None) == np.dtype(object):
        return np.array(prediction.tolist())
    return prediction


class Service(DefaultHandlerService):
    """The image's handler."""

    def __init__(self) -> None:
        super().__init__(Transformer(Handler()))
