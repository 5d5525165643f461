"""Predictions in the forms of SageMaker's XGBoost container, which has two of each.

                        multi-model endpoint    one model
    application/json    [0.1, 0.9]              {"predictions": [{"score": 0.1}, {"score": 0.9}]}
    text/csv            0.1,0.9                 a line for each row

Rows of several numbers are lines in both here, where the multi-model container writes lists.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import selected

from modelplex.toolkit import content_types, tensors
from modelplex.toolkit.encoder import encode
from modelplex.toolkit.errors import GenericInferenceToolkitError

_OTHER_NAMES = {
    "json": content_types.JSON,
    "csv": content_types.CSV,
    "application/*": content_types.JSON,
    "text/*": content_types.CSV,
}


def write(prediction: Any, accept: str, default: str, multi_model: bool) -> tuple[Any, str]:
    """The body and its content type. Raises GenericInferenceToolkitError (406)."""
    writers = _MULTI if multi_model else _SINGLE
    return _first(writers, accept, default, np.asarray(prediction))


def write_selected(rows: list[dict[str, Any]], accept: str, default: str) -> tuple[Any, str]:
    """The same for what SAGEMAKER_INFERENCE_OUTPUT has asked for."""
    return _first(_SELECTED, accept, default, rows)


def _first(
    writers: dict[str, Callable[[Any], Any]], accept: str, default: str, prediction: Any
) -> tuple[Any, str]:
    for wanted in content_types.accepted(accept):
        name = default if wanted == content_types.ANY else _OTHER_NAMES.get(wanted, wanted)
        if name in writers:
            return writers[name](prediction), name
    text = f"An answer of the content type {accept!r} cannot be written: accept "
    text += f"{', '.join(writers)}, or give the model an output_fn."
    raise GenericInferenceToolkitError(406, text, "Not Acceptable")


def _lines(values: Any) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def _scores(prediction: Any) -> list[dict[str, Any]]:
    return [{"score": value} for value in prediction.tolist()]


def _in_one_line(prediction: Any) -> Any:
    if prediction.ndim > 1:
        return encode(prediction.tolist(), content_types.CSV)
    return ",".join(map(str, prediction.tolist()))


def _npy(prediction: Any) -> Any:
    return encode(prediction, content_types.NPY)


_MULTI: dict[str, Callable[[Any], Any]] = {
    content_types.JSON: lambda prediction: json.dumps(prediction.tolist()),
    content_types.CSV: _in_one_line,
    tensors.JSON_LINES: lambda prediction: _lines(_scores(prediction)),
    content_types.NPY: _npy,
}
_SINGLE: dict[str, Callable[[Any], Any]] = {
    content_types.JSON: lambda prediction: json.dumps({"predictions": _scores(prediction)}),
    content_types.CSV: lambda prediction: encode(prediction.tolist(), content_types.CSV),
    tensors.JSON_LINES: lambda prediction: _lines(_scores(prediction)),
    content_types.NPY: _npy,
}
_SELECTED: dict[str, Callable[[Any], Any]] = {
    content_types.JSON: lambda rows: json.dumps({"predictions": rows}),
    content_types.CSV: selected.csv,
    tensors.JSON_LINES: _lines,
}
