"""Bodies to arrays: JSON, JSON lines, CSV, NPY and NPZ. Nothing is ever unpickled.

Results as the SageMaker Inference Toolkit's `decoder.py` gives them, which unpickles NPY bodies.
A body that claims to be larger than it is, or than NPZ_BYTES_MAX when it is unpacked, is refused
before anything is allocated for it.
"""

from __future__ import annotations

import importlib
import io
import json
import zipfile
import zlib
from collections.abc import Callable
from typing import IO, Any

from modelplex.toolkit import content_types
from modelplex.toolkit.errors import (
    GenericInferenceToolkitError,
    MalformedInputError,
    UnsupportedFormatError,
)

# What the parsers below raise at bodies that are not what they should be.
_MALFORMED = (
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
NPZ_BYTES_MAX = 1024 * 1024 * 1024  # of all arrays in one body, unpacked


def decode(obj: Any, content_type: str | None) -> Any:
    """The array that a body holds: a sparse matrix, or a dict of arrays, for NPZ.

    JSON stays what it is where NumPy is not installed. Raises UnsupportedFormatError and
    MalformedInputError, and GenericInferenceToolkitError where a package is missing.
    """
    name = content_types.media_type(content_type)
    decoder = _DECODERS.get(name)
    if decoder is None:
        raise UnsupportedFormatError(content_type)
    try:
        return decoder(obj)
    except _MALFORMED as error:
        raise MalformedInputError(f"The body is no valid {name}: {error}") from error


def text(body: Any) -> Any:
    """A body of bytes as text; anything else as it is. Raises MalformedInputError."""
    if not isinstance(body, (bytes, bytearray, memoryview)):
        return body
    try:
        return str(body, "utf-8")
    except UnicodeDecodeError as error:
        raise MalformedInputError(f"The body is not UTF-8: {error}") from error


def _json_to_numpy(body: Any) -> Any:
    """`body` may have been parsed already, by a server that decodes requests."""
    data = json.loads(text(body)) if isinstance(body, (str, bytes, bytearray, memoryview)) else body
    try:
        numpy = importlib.import_module("numpy")
    except ImportError:
        return data
    return numpy.array(data)


def _json_lines_to_numpy(body: Any) -> Any:
    lines = [line for line in text(body).splitlines() if line.strip()]
    if not lines:
        raise ValueError("it is empty")
    return _json_to_numpy([json.loads(line) for line in lines])


def _csv_to_numpy(body: Any) -> Any:
    lines = text(body)
    if not lines.strip():
        raise ValueError("it is empty")
    numpy = _package("numpy")
    return numpy.genfromtxt(io.StringIO(lines), dtype=None, delimiter=",", encoding="utf-8")


def _npy_to_numpy(body: Any) -> Any:
    numpy = _package("numpy")
    stream = io.BytesIO(body)
    _check_header(numpy, stream, len(body))
    stream.seek(0)
    return numpy.load(stream, allow_pickle=False)


def _npz_to_sparse(body: Any) -> Any:
    numpy = _package("numpy")
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > NPZ_BYTES_MAX:
            raise ValueError(f"it unpacks to more than {NPZ_BYTES_MAX} bytes")
        for member in members:
            with archive.open(member) as stream:
                _check_header(numpy, stream, member.file_size)
    with numpy.load(io.BytesIO(body), allow_pickle=False) as arrays:
        if "format" not in arrays.files:
            return {name: arrays[name] for name in arrays.files}
    matrix = _package("scipy.sparse").load_npz(io.BytesIO(body))
    if hasattr(matrix, "check_format"):
        matrix.check_format(full_check=True)  # else indices may point outside of the matrix
    return matrix


def _check_header(numpy: Any, stream: IO[bytes], size: int) -> None:
    """Raises ValueError where an array of `size` bytes claims to be larger, or holds objects."""
    form = numpy.lib.format
    version = form.read_magic(stream)
    read = form.read_array_header_1_0 if version == (1, 0) else form.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never unpickled")
    claimed = dtype.itemsize
    for length in shape:
        claimed *= length
    if not 0 <= claimed <= size:
        raise ValueError(f"its header claims {claimed} bytes of data, and it has {size} in all")


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        needed = name.partition(".")[0]
        text = f"This content type needs {needed}, which the image does not have: install it."
        raise GenericInferenceToolkitError(500, text, "Internal Server Error") from error


_DECODERS: dict[str, Callable[[Any], Any]] = {
    content_types.NPY: _npy_to_numpy,
    content_types.CSV: _csv_to_numpy,
    content_types.JSON: _json_to_numpy,
    content_types.JSON_LINES: _json_lines_to_numpy,
    content_types.NPZ: _npz_to_sparse,
}
