"""Bodies to rows of numbers, as models of tables want them; NaN for what is missing.

    text/csv                1,2\\n3,,5             no header; an empty field is missing
    text/libsvm             1 0:1.5 3:2           an optional label, then index:value
    application/json        [[1, 2], [3, null]]   also one row alone, {"instances": [...]}
    application/jsonlines   {"features": [1, 2]}  a row on each line, or a bare list
    application/x-npy       an array of one or two dimensions
    application/x-npz       a sparse matrix of SciPy

Forms of JSON as in SageMaker's common data formats for inference: rows stand under "instances"
("inputs" and "data" are taken too), and a row is a list, {"features": [...]}, or
{"data": {"features": {"values": [...]}}}.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import re
from collections.abc import Callable
from typing import Any

from modelplex.toolkit import content_types, decoder, tensors
from modelplex.toolkit.errors import GenericInferenceToolkitError, MalformedInputError

RECORDIO = "application/x-recordio-protobuf"
READS = "text/csv, text/libsvm, application/json, application/jsonlines or application/x-npy"
LIBSVM_INDEX_ENV = "MODELPLEX_LIBSVM_INDEX"  # "0" or "1": what the first column is called
ROWS_PER_THREAD = 1000  # fewer are predicted sooner than another thread is awake
CELLS_MAX = 64 * 1024 * 1024  # numbers in the rows of one body; LIBSVM is small for what it says
_DELIMITERS = (",", ";", "\t")  # a CSV without any of them in its first line is split at spaces
_FEATURE = re.compile(r"(\d{1,10}):([^:\s]+)")


class Layout:
    """What the rows are to be: `dtype` of the numbers, `columns` (None: unknown before they are
    read), and `absent`, the number that stands where LIBSVM says nothing."""

    def __init__(
        self, dtype: str = "float32", columns: int | None = None, absent: float = 0.0
    ) -> None:
        self.dtype = dtype
        self.columns = columns
        self.absent = absent


def rows(body: Any, content_type: str | None, layout: Layout) -> Any:
    """A two-dimensional array, or SciPy's sparse matrix for NPZ.

    Raises MalformedInputError, GenericInferenceToolkitError (415) for other content types.
    """
    name = content_types.media_type(content_type)
    reader = _READERS.get(name)
    if reader is not None:
        return _array(reader, decoder.text(body), name, layout)
    if name in {content_types.NPY, content_types.NPZ}:
        return _two_dimensions(decoder.decode(body, name), name)
    raise _unreadable(content_type, name)


def check_columns(found: Any, columns: int | None) -> None:
    """Raises MalformedInputError where rows have not as many columns as the model was made with."""
    if columns is not None and found.shape[1] != columns:
        raise MalformedInputError(
            f"The rows have {found.shape[1]} features, and the model was trained with {columns}."
        )


def threads(count: int) -> int:
    """How many threads should predict so many rows: at most OMP_NUM_THREADS, the vCPUs."""
    allowed = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return max(1, min(int(allowed) if allowed.isdigit() else 1, count // ROWS_PER_THREAD))


def _array(reader: Callable[[Any, Layout], Any], text: Any, name: str, layout: Layout) -> Any:
    if not text or (isinstance(text, str) and not text.strip()):
        raise MalformedInputError(f"The body is empty: send one row or more as {name}.")
    try:
        return _two_dimensions(reader(text, layout), name)
    except (ValueError, TypeError, RecursionError) as error:
        raise MalformedInputError(f"The body is no valid {name}: {error}") from error


def _two_dimensions(found: Any, name: str) -> Any:
    if not hasattr(found, "reshape") or found.dtype.kind not in "biuf":
        raise MalformedInputError(f"The body ({name}) holds no numbers in rows and columns.")
    if found.ndim == 1:
        found = found.reshape(1, -1)
    if found.ndim != 2 or 0 in found.shape:
        raise MalformedInputError(
            f"The body ({name}) is of the shape {found.shape}: send rows of features."
        )
    return found


def _csv(text: str, layout: Layout) -> Any:
    lines = [line for line in text.splitlines() if line.strip()]
    delimiter = next((one for one in _DELIMITERS if one in lines[0]), None)
    return _matrix([line.split(delimiter) for line in lines], layout)


def _json(text: Any, layout: Layout) -> Any:
    """`text` may have been parsed already, by a server that decodes requests."""
    document = json.loads(text) if isinstance(text, str) else text
    if isinstance(document, dict):
        document = _under(document, "instances", "inputs", "data")
    if not isinstance(document, list):
        raise ValueError('send a list of rows, or {"instances": [...]}')
    if document and not isinstance(document[0], (list, dict)):
        document = [document]
    return _matrix([_features(row) for row in document], layout)


def _json_lines(text: str, layout: Layout) -> Any:
    lines = [line for line in text.splitlines() if line.strip()]
    return _matrix([_features(json.loads(line)) for line in lines], layout)


def _features(row: Any) -> list[Any]:
    """The numbers of one row in any of its forms."""
    while isinstance(row, dict):
        row = _under(row, "features", "data", "values", "instances")
    if not isinstance(row, list):
        raise ValueError(f"a row is {json.dumps(row)[:40]}, and not a list of numbers")
    return row


def _under(document: dict[str, Any], *names: str) -> Any:
    name = next((one for one in names if one in document), None)
    if name is None:
        raise ValueError(f"it is an object without {' or '.join(map(repr, names[:2]))}")
    return document[name]


def _matrix(found: list[list[Any]], layout: Layout) -> Any:
    """Rows of equally many numbers, or texts of numbers; what is missing is "" or None."""
    numpy = importlib.import_module("numpy")
    width = len(found[0]) if found else 0
    _check_size(len(found) * width)
    for at, row in enumerate(found):
        if len(row) != width:
            raise ValueError(f"row {at + 1} has {len(row)} values, and row 1 has {width}")
    try:
        return numpy.array([[_number(value) for value in row] for row in found], layout.dtype)
    except (ValueError, TypeError):
        raise ValueError(_complaint(found)) from None


def _number(value: Any) -> float:
    try:
        return float(value)
    except (ValueError, TypeError):
        if value is None or (isinstance(value, str) and not value.strip()):
            return math.nan
        raise


def _complaint(found: list[list[Any]]) -> str:
    """Which value is no number."""
    for at, row in enumerate(found):
        for column, value in enumerate(row):
            try:
                _number(value)
            except (ValueError, TypeError):
                header = " (a header is not taken)" if at == 0 and len(found) > 1 else ""
                place = f"row {at + 1}, column {column + 1}"
                return f"{place}: {str(value)[:40]!r} is no number{header}"
    return "it has values that are no numbers"


def _libsvm(text: str, layout: Layout) -> Any:
    found = [_pairs(line, at) for at, line in enumerate(text.strip().splitlines())]
    indices = [index for row in found for index, _ in row]
    if not indices:
        raise ValueError("it has no index:value")
    first = _first_index(min(indices))
    width = max(max(indices) - first + 1, layout.columns or 0)
    if layout.columns is not None and width > layout.columns:
        raise ValueError(
            f"it has a feature {max(indices)}, and the model was trained with {layout.columns}"
            f" (counted from {first})"
        )
    _check_size(len(found) * width)
    numpy = importlib.import_module("numpy")
    array = numpy.full((len(found), width), layout.absent, layout.dtype)
    for row, pairs in enumerate(found):
        for index, value in pairs:
            array[row, index - first] = value
    return array


def _pairs(line: str, at: int) -> list[tuple[int, float]]:
    """The features of a line. Words without a colon are labels; `qid` is not a feature."""
    found = []
    for word in line.partition("#")[0].split():
        match = _FEATURE.fullmatch(word)
        if match:
            found.append((int(match[1]), float(match[2])))
        elif ":" in word and not word.startswith("qid:"):
            raise ValueError(f"line {at + 1}: {word[:40]!r} is no index:value")
    return found


def _first_index(smallest: int) -> int:
    """What the first column is called: as told, else 1 where no index of the body is 0.

    The guess is that of SageMaker's XGBoost container.
    """
    told = os.environ.get(LIBSVM_INDEX_ENV, "")
    if told not in ("0", "1"):
        return 1 if smallest >= 1 else 0
    if smallest < int(told):
        raise ValueError(f"it has a feature {smallest}, and {LIBSVM_INDEX_ENV} is {told}")
    return int(told)


def _check_size(cells: int) -> None:
    if cells > CELLS_MAX:
        raise ValueError(f"it has {cells} numbers, more than {CELLS_MAX}: send fewer rows at once")


def _unreadable(content_type: str | None, name: str) -> GenericInferenceToolkitError:
    if name != RECORDIO:
        return tensors.unreadable(content_type, READS)
    text = f"RecordIO-protobuf ({RECORDIO}) is not read here: send {READS}."
    return GenericInferenceToolkitError(415, text, "Unsupported Media Type")


_READERS: dict[str, Callable[[Any, Layout], Any]] = {
    content_types.CSV: _csv,
    "csv": _csv,
    content_types.JSON: _json,
    tensors.JSON_LINES: _json_lines,
    "text/libsvm": _libsvm,
    "text/x-libsvm": _libsvm,
    "libsvm": _libsvm,
}
