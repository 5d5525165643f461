"""One loaded checkpoint: what it takes, and a run of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnxruntime.capi import onnxruntime_pybind11_state as states

from modelplex.toolkit import images, tensors
from modelplex.toolkit.errors import MalformedInputError
from mxnet_onnx import artifact, sessions

_FAILURES = (states.Fail, states.InvalidArgument, states.RuntimeException)
_COLOURS = {1: "L", 3: "RGB"}


class Network:
    """Inputs by name, all float32, and their shapes, whose first length is that of the rows."""

    def __init__(self, model_dir: str) -> None:
        """Raises ConversionError and MemoryError."""
        found = artifact.find(model_dir)
        self._session = sessions.open_session(found)
        self.inputs = [each.name for each in self._session.get_inputs()]
        self.signature = found.signature
        self.labels = artifact.labels(model_dir)
        self.gives_probabilities = bool(self.labels) and artifact.ends_in_softmax(found)
        fixed = [
            each.shape and isinstance(each.shape[0], int) for each in self._session.get_outputs()
        ]
        # A network that reshapes to a fixed number of rows takes just so many at once.
        self._rows = self._signed_rows() if any(fixed) else None

    def preprocess(self) -> images.Preprocess | None:
        """How pictures become this network's input: resized as OpenCV does it, with values from 0
        to 255, which is what MXNet's own classifiers take. None for one that takes no pictures."""
        shape = self.signature.get(self.inputs[0], ()) if len(self.inputs) == 1 else ()
        if len(shape) != 4 or shape[1] not in _COLOURS:
            return None
        order, size = _COLOURS[shape[1]], (shape[2], shape[3])
        return images.Preprocess(
            size, crop=None, divisor=1.0, mean=(0.0,), std=(1.0,), order=order, antialias=False
        )

    def feeds(self, given: Any, flat: bool = False) -> dict[str, Any]:
        """Arrays by name as the network takes them, from one array or a dict of them.

        `flat` rows, as CSV has them, are put into shape. Raises MalformedInputError, with what is
        taken and what was given.
        """
        named = given if isinstance(given, Mapping) else {self._only_input(): given}
        if set(named) != set(self.inputs):
            wanted, had = ", ".join(self.inputs), ", ".join(named)
            raise MalformedInputError(f"The model's inputs are {wanted}, and the body has {had}.")
        return {name: self._fit(name, array, flat) for name, array in named.items()}

    def run(self, data: Any) -> Any:
        """The output, or a dict of outputs by name, for an array or a dict of arrays.

        Raises MemoryError, and MalformedInputError where the network cannot work on such arrays.
        """
        feeds = data if isinstance(data, Mapping) else {self._only_input(): data}
        outputs = self._compute(feeds) if self._rows is None else self._in_parts(feeds)
        names = [each.name for each in self._session.get_outputs()]
        return outputs[0] if len(outputs) == 1 else dict(zip(names, outputs, strict=True))

    def _compute(self, feeds: Mapping[str, Any]) -> list[Any]:
        try:
            return list(self._session.run(None, dict(feeds)))
        except _FAILURES as error:
            if sessions.lacks_memory(error):
                raise MemoryError(str(error)) from error
            text = f"The model cannot work on this input: {error!s:.500}"
            raise MalformedInputError(text) from error

    def _in_parts(self, feeds: Mapping[str, Any]) -> list[Any]:
        """So many rows at once as the network takes, zeros behind the last of them."""
        size = self._rows or 1
        count = len(next(iter(feeds.values())))
        parts = []
        for start in range(0, count, size):
            cut = {name: array[start : start + size] for name, array in feeds.items()}
            parts.append(self._compute({name: _padded(rows, size) for name, rows in cut.items()}))
        return [np.concatenate(each)[:count] for each in zip(*parts, strict=True)]

    def _fit(self, name: str, given: Any, flat: bool) -> Any:
        array = tensors.cast(np.asarray(given), "float32", f"The input {name!r}")
        shape = self.signature.get(name)
        if shape is None:
            return array
        row = shape[1:]
        if flat and array.size and array.size % int(np.prod(row)) == 0:
            array = array.reshape(-1, *row)
        elif array.shape == row:
            array = array[np.newaxis]
        if array.shape[1:] != row or not array.size:
            lengths = ", ".join(("rows", *map(str, row)))
            had = f"has the shape {np.shape(given)}"
            raise MalformedInputError(f"The input {name!r} takes ({lengths}), and the body {had}.")
        return np.ascontiguousarray(array)

    def _only_input(self) -> Any:
        if len(self.inputs) != 1:
            names = ", ".join(self.inputs)
            raise MalformedInputError(
                f"The model takes {len(self.inputs)} inputs by name: {names}."
            )
        return self.inputs[0]

    def _signed_rows(self) -> int:
        return next((self.signature[name][0] for name in self.inputs if name in self.signature), 1)


def _padded(rows: Any, size: int) -> Any:
    missing = size - len(rows)
    return np.concatenate([rows, np.zeros((missing, *rows.shape[1:]), "f4")]) if missing else rows
