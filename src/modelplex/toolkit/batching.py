"""Predicts for many requests at once: their rows one below the other, the answers apart again.

What counts as rows is an array with at least one dimension, or a dict of such arrays with equally
many rows. Anything else is predicted alone, and so is everything where predicting together failed:
then only the request at fault fails.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

JOINED_BYTES_MAX = 32 * 1024 * 1024  # of rows in one prediction; beyond it joining gains nothing


class Failed:
    """Stands where a value should be that could not be had, with the reason."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


def attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's result, or Failed."""
    try:
        return function(*arguments)
    except Exception as error:
        return Failed(error)


def predict(inputs: list[Any], function: Callable[[Any], Any]) -> list[Any]:
    """The prediction for each input, or Failed; inputs that are Failed stay so."""
    outcomes = list(inputs)
    for members in groups(inputs):
        found = _predict_group([inputs[member] for member in members], function)
        for at, member in enumerate(members):
            outcomes[member] = found[at]
    return outcomes


def groups(inputs: list[Any]) -> list[list[int]]:
    """The places of inputs that can be predicted together; without those that are Failed."""
    found: list[list[int]] = []
    open_groups: dict[Any, tuple[list[int], int]] = {}
    for place, rows in enumerate(inputs):
        if isinstance(rows, Failed):
            continue
        form = _form(rows)
        if form is None:
            found.append([place])
            continue
        members, size = open_groups.get(form, ([], 0))
        more = sum(array.nbytes for array in _arrays(rows).values())
        if not members or size + more > JOINED_BYTES_MAX:
            members, size = [], 0
            found.append(members)
        members.append(place)
        open_groups[form] = (members, size + more)
    return found


def join(inputs: list[Any]) -> Any:
    """The rows of inputs of one form, one below the other."""
    numpy = importlib.import_module("numpy")
    first = inputs[0]
    if not isinstance(first, dict):
        return numpy.concatenate(inputs)
    return {name: numpy.concatenate([rows[name] for rows in inputs]) for name in first}


def split(prediction: Any, counts: list[int]) -> list[Any]:
    """A prediction for joined rows as one for each input, which had so many rows.

    It is an array with a place for each row, or a dict, list or tuple of such arrays. Raises
    ValueError where it is not: then nobody can tell which part is whose.
    """
    if isinstance(prediction, dict):
        named = {name: split(value, counts) for name, value in prediction.items()}
        return [{name: named[name][at] for name in named} for at in range(len(counts))]
    if type(prediction) in (list, tuple):
        parts = [split(value, counts) for value in prediction]
        return [type(prediction)(part[at] for part in parts) for at in range(len(counts))]
    shape = getattr(prediction, "shape", ())
    if not shape or shape[0] != sum(counts):
        raise ValueError(f"the prediction is no array of {sum(counts)} rows")
    found, start = [], 0
    for count in counts:
        found.append(prediction[start : start + count])
        start += count
    return found


def _predict_group(inputs: list[Any], function: Callable[[Any], Any]) -> list[Any]:
    if len(inputs) > 1:
        counts = [len(next(iter(_arrays(rows).values()))) for rows in inputs]
        together = attempt(lambda: split(function(join(inputs)), counts))
        if not isinstance(together, Failed):
            return list(together)
    return [attempt(function, rows) for rows in inputs]


def _arrays(rows: Any) -> dict[str, Any]:
    return rows if isinstance(rows, dict) else {"": rows}


def _form(rows: Any) -> tuple[Any, ...] | None:
    """What has to be equal for inputs to be joined; None for what cannot be."""
    arrays = _arrays(rows)
    if not arrays or not all(_is_array(array) for array in arrays.values()):
        return None
    if len({len(array) for array in arrays.values()}) > 1:
        return None
    return tuple((name, str(a.dtype), a.shape[1:]) for name, a in sorted(arrays.items()))


def _is_array(value: Any) -> bool:
    """Whether it is an array of NumPy's with rows, and no sparse matrix."""
    return type(value).__module__ == "numpy" and getattr(value, "ndim", 0) > 0
