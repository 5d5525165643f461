"""Bodies and answers of networks: one array, or several by name.

    [[1, 2]]                          an array
    {"inputs": [[1, 2]]}              the same
    {"instances": [[1, 2], [3, 4]]}   the same, row by row
    {"ids": [[1]], "mask": [[1]]}     arrays by name, also below "inputs"
    {"instances": [{"ids": [1], "mask": [1]}]}     arrays by name, row by row

JSON lines are rows, as instances are. CSV always has two dimensions, NPY is one array, NPZ arrays
by name. NumPy is the image's.
"""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Callable, Collection
from typing import Any

from modelplex.toolkit import content_types, decoder, encoder
from modelplex.toolkit.environment import Environment
from modelplex.toolkit.errors import GenericInferenceToolkitError, MalformedInputError

JSON_LINES = content_types.JSON_LINES
READS = "JSON, JSON lines, CSV, NPY and NPZ"
_TEXTS, _NUMBERS = "OSU", "biuf"  # NumPy's kinds of types
_WILDCARDS = {"application/*": content_types.JSON, "text/*": content_types.CSV}


def decode(
    body: Any, content_type: str | None, names: Collection[str] = (), known: str = READS
) -> Any:
    """The array in a body, or a dict of arrays by name.

    `names` are the network's inputs: an object in JSON that has only such keys is meant by name,
    whatever they are called. Raises MalformedInputError, and GenericInferenceToolkitError (415)
    for another content type, which tells what is `known`.
    """
    name = content_types.media_type(content_type)
    reader = _READERS.get(name)
    if reader is not None:
        try:
            return reader(decoder.text(body), names)
        except (ValueError, TypeError, RecursionError) as error:
            raise MalformedInputError(f"The body is no valid {name}: {error}") from error
    if name in {content_types.NPY, content_types.NPZ}:
        return decoder.decode(body, name)
    raise unreadable(content_type, known)


def unreadable(content_type: str | None, known: str) -> GenericInferenceToolkitError:
    """The error for a content type that is none of the `known`."""
    what = f"The content type {content_type!r}" if content_type else "A body of no content type"
    text = f"{what} cannot be read: send {known}, or give the model an input_fn."
    return GenericInferenceToolkitError(415, text, "Unsupported Media Type")


def encode(prediction: Any, accept: str | None) -> tuple[str | bytes, str]:
    """The body and content type of an answer: the first one accepted that can express it.

    `prediction` is an array, or a dict of them by name. Raises GenericInferenceToolkitError (406)
    with what could be had.
    """
    trouble = ""
    for wanted in content_types.accepted(accept):
        name = _WILDCARDS.get(wanted, wanted)
        if name == content_types.ANY:
            name = Environment().default_accept
        writer = _WRITERS.get(name)
        if writer is None:
            continue
        try:
            return writer(prediction), name
        except (ValueError, TypeError) as error:
            trouble = trouble or f" ({error})"
    text = f"An answer of the content type {accept!r} cannot be written{trouble}: accept "
    text += f"{', '.join(_WRITERS)}, or give the model an output_fn."
    raise GenericInferenceToolkitError(406, text, "Not Acceptable")


def cast(array: Any, dtype: Any, what: str) -> Any:
    """`array` in the type that `what` takes. Raises MalformedInputError where values would be lost:
    texts for numbers, fractions or too large numbers for integers."""
    numpy = importlib.import_module("numpy")
    wanted = numpy.dtype(dtype)
    if array.dtype == wanted:
        return array
    kinds = _TEXTS if wanted.kind in _TEXTS else _NUMBERS
    if array.dtype.kind not in kinds:
        asked, had = _noun(wanted), _noun(array.dtype)
        raise MalformedInputError(f"{what} takes {asked}, and the body has {had}.")
    with numpy.errstate(all="ignore"):
        result = array.astype(wanted)
    if wanted.kind in "iub" and not numpy.array_equal(result, array):
        raise MalformedInputError(f"{what} takes {wanted.name}, and the body has other values.")
    return result


def _noun(dtype: Any) -> str:
    return "texts" if dtype.kind in _TEXTS else str(dtype.name)


def _json(text: Any, names: Collection[str]) -> Any:
    """A server may have parsed it already."""
    document = json.loads(text) if isinstance(text, str) else text
    if not isinstance(document, dict) or (document and set(document) <= set(names)):
        return _arrays(document)
    if set(document) == {"inputs"}:
        return _arrays(document["inputs"])
    if set(document) == {"instances"}:
        return _rows(document["instances"])
    return _arrays(document)


def _json_lines(text: str, _: Collection[str]) -> Any:
    return _rows([json.loads(line) for line in text.splitlines() if line.strip()])


def _csv(text: str, _: Collection[str]) -> Any:
    if not text.strip():
        raise ValueError("it is empty")
    numpy = importlib.import_module("numpy")
    return numpy.loadtxt(io.StringIO(text), delimiter=",", ndmin=2, comments=None)


def _rows(rows: Any) -> Any:
    if not isinstance(rows, list) or not rows:
        raise ValueError("it has no rows")
    if not all(isinstance(row, dict) for row in rows):
        return _array(rows)
    if any(set(row) != set(rows[0]) for row in rows):
        raise ValueError("its rows have different names")
    return {name: _array([row[name] for row in rows]) for name in rows[0]}


def _arrays(document: Any) -> Any:
    if not isinstance(document, dict):
        return _array(document)
    if not document:
        raise ValueError("it is empty")
    return {name: _array(value) for name, value in document.items()}


def _array(value: Any) -> Any:
    numpy = importlib.import_module("numpy")
    array = numpy.array(value)  # ValueError where rows differ in length
    if array.dtype.kind == "O":
        raise ValueError("arrays are of numbers, texts or booleans, without null and objects")
    return array


def _to_json_lines(prediction: Any) -> str | bytes:
    """A line for each row: a value, or an object by name."""
    if not isinstance(prediction, dict):
        return encoder.encode(prediction, content_types.JSON_LINES)
    columns = [_listed(value) for value in prediction.values()]
    if len({len(column) for column in columns}) > 1:
        raise ValueError("the outputs have different numbers of rows")
    rows = [dict(zip(prediction, row)) for row in zip(*columns)]  # noqa: B905  Python 3.8
    return encoder.encode(rows, content_types.JSON_LINES)


def _listed(value: Any) -> list[Any]:
    rows = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(rows, list):
        raise ValueError("one of the outputs has no rows")
    return rows


def _alone(name: str) -> Callable[[Any], str | bytes]:
    """A writer for one array."""

    def write(prediction: Any) -> str | bytes:
        if isinstance(prediction, dict):
            raise ValueError(f"the model has {len(prediction)} outputs, and {name} holds one")
        return encoder.encode(prediction, name)

    return write


def _to_npz(prediction: Any) -> bytes:
    numpy = importlib.import_module("numpy")
    named = prediction if isinstance(prediction, dict) else {"output": prediction}
    arrays = {name: numpy.asarray(value) for name, value in named.items()}
    if any(array.dtype.hasobject for array in arrays.values()):
        raise ValueError("NPZ holds numbers and texts")
    out = io.BytesIO()
    numpy.savez(out, **arrays)
    return out.getvalue()


_READERS: dict[str, Callable[[Any, Collection[str]], Any]] = {
    content_types.JSON: _json,
    content_types.JSON_LINES: _json_lines,
    content_types.CSV: _csv,
}
_WRITERS: dict[str, Callable[[Any], str | bytes]] = {
    content_types.JSON: lambda prediction: encoder.encode(prediction, content_types.JSON),
    content_types.JSON_LINES: _to_json_lines,
    content_types.CSV: _alone(content_types.CSV),
    content_types.NPY: _alone(content_types.NPY),
    content_types.NPZ: _to_npz,
}
