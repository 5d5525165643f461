"""What SAGEMAKER_INFERENCE_OUTPUT asks for: labels and probabilities by name, for each row.

Names, and what each objective can say, as in SageMaker's XGBoost container 1.3-1 and later
(`serve_utils.py`), where what an objective cannot say is NaN. It is null here, for NaN is no JSON.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

OUTPUT_ENV = "SAGEMAKER_INFERENCE_OUTPUT"

_SCORED = {"binary:logistic", "binary:logitraw", "binary:hinge", "multi:softmax", "multi:softprob"}
_PROBABLE = {"binary:logistic", "multi:softprob"}
_LABELLED = {"binary:hinge", "multi:softmax"}  # the prediction is the label


def wanted() -> list[str]:
    """The names asked for, in order; none where the variable is not set."""
    text = os.environ.get(OUTPUT_ENV, "").lower().replace(" ", "")
    return [name for name in text.split(",") if name]


def select(prediction: Any, names: list[str], objective: str, classes: int) -> list[dict[str, Any]]:
    """What was asked for, row by row."""
    return [
        {name: _value(name, row, objective, classes) for name in names}
        for row in np.asarray(prediction)
    ]


def csv(rows: list[dict[str, Any]]) -> str:
    """A line for each row; lists are quoted, and what is missing is nan."""
    return "\n".join(",".join(_cell(value) for value in row.values()) for row in rows)


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return f'"{value}"'
    return "nan" if value is None else str(value)


def _value(name: str, row: Any, objective: str, classes: int) -> Any:
    read = _READERS.get(name)
    return None if read is None else read(row, objective, classes)


def _label(row: Any, objective: str, _: int) -> Any:
    if objective == "multi:softprob":
        return int(np.argmax(row))
    if objective in _LABELLED:
        return row.item()
    if objective in _SCORED:
        return int(row > (0.5 if objective == "binary:logistic" else 0.0))
    return None


def _labels(_: Any, objective: str, classes: int) -> Any:
    if objective.startswith("binary:"):
        return [0, 1]
    return list(range(classes)) if objective.startswith("multi:") else None


def _score(row: Any, objective: str, _: int) -> Any:
    return float(np.max(row)) if objective in _SCORED else None


def _scores(row: Any, objective: str, _: int) -> Any:
    if objective not in _SCORED:
        return None
    return row.tolist() if row.ndim else [1.0 - row.item(), row.item()]


def _probable(read: Callable[..., Any]) -> Callable[[Any, str, int], Any]:
    def value(row: Any, objective: str, classes: int) -> Any:
        return read(row, objective, classes) if objective in _PROBABLE else None

    return value


def _predicted(row: Any, objective: str, _: int) -> Any:
    return row.item() if objective.startswith("reg:") and not row.ndim else None


_READERS: dict[str, Callable[[Any, str, int], Any]] = {
    "predicted_label": _label,
    "labels": _labels,
    "probability": _probable(_score),
    "probabilities": _probable(_scores),
    "raw_score": _score,
    "raw_scores": _scores,
    "predicted_score": _predicted,
}
