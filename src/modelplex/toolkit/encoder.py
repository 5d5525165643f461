"""Predictions to bodies: JSON, JSON lines, CSV and NPY. Nothing is ever pickled.

Results as the SageMaker Inference Toolkit's `encoder.py` gives them; texts in CSV are quoted where
they hold a comma, a quote or a line end.
"""

from __future__ import annotations

import csv
import importlib
import io
import json
from collections.abc import Callable
from typing import Any

from modelplex.toolkit import content_types
from modelplex.toolkit.errors import UnsupportedAcceptError


def encode(array_like: Any, content_type: str) -> str | bytes:
    """A prediction in a content type. Raises UnsupportedAcceptError for a type that is not known,
    TypeError or ValueError for a prediction that it cannot express."""
    encoder = _ENCODERS.get(content_types.media_type(content_type))
    if encoder is None:
        raise UnsupportedAcceptError(content_type)
    return encoder(array_like)


def _array_to_json(array_like: Any) -> str:
    return json.dumps(array_like, default=_plain)


def _array_to_json_lines(array_like: Any) -> str:
    """A line for each row, or for each element of a one-dimensional prediction."""
    rows = array_like if _is_list(array_like) and not isinstance(array_like, dict) else [array_like]
    return "".join(_array_to_json(row) + "\n" for row in rows)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a prediction with a {type(value).__name__} cannot be written as JSON")


def _array_to_csv(array_like: Any) -> str:
    """A line for each row, or for each element of a one-dimensional prediction."""
    rows = array_like.__array__() if hasattr(array_like, "__array__") else array_like
    if getattr(rows, "ndim", 1) > 2:
        raise ValueError(f"a prediction of {rows.ndim} dimensions cannot be written as CSV")
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for row in rows if _is_list(rows) else [rows]:
        writer.writerow(row if _is_list(row) else [row])
    return out.getvalue()


def _is_list(value: Any) -> bool:
    """Whether it has elements: not texts, and not arrays without dimensions."""
    plain = isinstance(value, (str, bytes)) or getattr(value, "ndim", 1) == 0
    return hasattr(value, "__iter__") and not plain


def _array_to_npy(array_like: Any) -> bytes:
    numpy = importlib.import_module("numpy")
    out = io.BytesIO()
    numpy.save(out, array_like, allow_pickle=False)
    return out.getvalue()


_ENCODERS: dict[str, Callable[[Any], str | bytes]] = {
    content_types.NPY: _array_to_npy,
    content_types.CSV: _array_to_csv,
    content_types.JSON: _array_to_json,
    content_types.JSON_LINES: _array_to_json_lines,
}
SUPPORTED_CONTENT_TYPES = set(_ENCODERS)
