"""XGBoost: boosters and ensembles of them, asked and answering as SageMaker's container does."""

from __future__ import annotations

import math
import os
from typing import Any

import answers
import boosters
import numpy as np
import selected
import xgboost

from modelplex.toolkit import content_types, parameters, tabular
from modelplex.toolkit.default_handler_service import DefaultHandlerService
from modelplex.toolkit.default_inference_handler import DefaultInferenceHandler
from modelplex.toolkit.errors import MalformedInputError
from modelplex.toolkit.transformer import Transformer

_VOTES = ("multi:softmax", "binary:hinge")  # labels: an ensemble's most frequent one is taken


class Handler(DefaultInferenceHandler):
    """Where the user's module has functions of its own, `input_fn` gives a DMatrix to them, as in
    SageMaker's container, and `predict_fn` takes one; otherwise rows are predicted in place."""

    batches = True

    def __init__(self) -> None:
        self.multi_model = os.environ.get(parameters.MULTI_MODEL_ENV, "").lower() == "true"
        given = os.environ.get(parameters.DEFAULT_INVOCATIONS_ACCEPT_ENV)
        self.default_accept = given or (
            content_types.JSON if self.multi_model else content_types.CSV
        )
        self._about: boosters.About | None = None
        self._columns: int | None = None
        self._threads = 0  # that the boosters were told last; 0: nothing yet

    def default_model_fn(self, model_dir: str, context: Any = None) -> Any:
        found = boosters.load(model_dir)
        self._about = boosters.about(found[0])
        self._columns = self._about.columns
        return found[0] if len(found) == 1 else found

    def default_rows_fn(self, input_data: Any, content_type: str) -> Any:
        # What LIBSVM does not name is missing, as in a sparse DMatrix.
        layout = tabular.Layout("float32", self._columns, math.nan)
        return tabular.rows(input_data, content_type, layout)

    def default_input_fn(self, input_data: Any, content_type: str, context: Any = None) -> Any:
        return xgboost.DMatrix(self.default_rows_fn(input_data, content_type))

    def default_predict_fn(self, data: Any, model: Any, context: Any = None) -> Any:
        members = [_booster(one) for one in (model if isinstance(model, list) else [model])]
        self._about = boosters.about(members[0])
        if not isinstance(data, xgboost.DMatrix):
            self._use_threads(members, tabular.threads(data.shape[0]))
        try:
            found = [_predict(booster, data) for booster in members]
        except (ValueError, xgboost.core.XGBoostError) as error:
            line = boosters.first_line(error)
            raise MalformedInputError(f"The model cannot take these rows: {line}") from error
        return found[0] if len(found) == 1 else _together(found, self._about.objective)

    def default_output_fn(self, prediction: Any, accept: str, context: Any = None) -> Any:
        names = selected.wanted()
        if not names or self._about is None:
            return answers.write(prediction, accept, self.default_accept, self.multi_model)
        about = self._about
        rows = selected.select(prediction, names, about.objective, about.classes)
        return answers.write_selected(rows, accept, self.default_accept)

    def _use_threads(self, members: list[Any], threads: int) -> None:
        """Tells the boosters only what is new: it costs as much as predicting a row."""
        if threads != self._threads:
            for booster in members:
                booster.set_param("nthread", threads)
            self._threads = threads


def _predict(booster: Any, data: Any) -> Any:
    about = boosters.about(booster)
    rounds = (0, about.rounds)
    if not isinstance(data, xgboost.DMatrix):
        tabular.check_columns(data, about.columns)
        if not about.linear:
            return booster.inplace_predict(data, iteration_range=rounds, validate_features=False)
        data = xgboost.DMatrix(data)
    return booster.predict(data, iteration_range=rounds, validate_features=False)


def _booster(model: Any) -> Any:
    """What is in an XGBClassifier, which a user's model_fn may give."""
    return model.get_booster() if hasattr(model, "get_booster") else model


def _together(predictions: list[Any], objective: str) -> Any:
    """An ensemble's prediction: the mean, or of labels the most frequent, the smaller of equals."""
    if objective not in _VOTES:
        return np.mean(predictions, axis=0)
    labels = np.stack(predictions)
    choices = np.unique(labels)
    votes = np.stack([(labels == choice).sum(axis=0) for choice in choices])
    return choices[votes.argmax(axis=0)]


class Service(DefaultHandlerService):
    """The image's handler."""

    def __init__(self) -> None:
        handler = Handler()
        # Without an Accept header SageMaker's container writes CSV for an endpoint of one model.
        os.environ.setdefault(parameters.DEFAULT_INVOCATIONS_ACCEPT_ENV, handler.default_accept)
        super().__init__(Transformer(handler))
