"""One ONNX model: what it takes, and a run of it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # at build no image.toml has set it yet

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as states

from modelplex.toolkit import images, model_files, tensors
from modelplex.toolkit.errors import MalformedInputError

_DTYPES = {
    "float": "float32",
    "double": "float64",
    "string": "object",
    **{name: name for name in ("float16", "int8", "int16", "int32", "int64", "bool")},
    **{name: name for name in ("uint8", "uint16", "uint32", "uint64")},
}
_NO_MEMORY = re.compile(r"failed to allocate|bad_alloc|out of memory", re.IGNORECASE)
_FAILURES = (
    states.Fail,
    states.InvalidArgument,
    states.NotImplemented,
    states.RuntimeException,
)
# Names that exporters give to a first dimension whose rows do not know of each other. A sequence is
# dynamic too, and two of them must never be put together.
_BATCH = re.compile(r"|n|bs|none|unk__\d+|.*batch.*", re.IGNORECASE)
_PICTURE_SIDE = 224  # where the model leaves it open


@dataclass(frozen=True, slots=True)
class Slot:
    """One input or output. A dimension is a number, or a name if it is open ("" for no name)."""

    name: str
    type: str  # in onnxruntime's words: "tensor(float)"
    shape: tuple[int | str, ...]

    @property
    def dtype(self) -> str:
        """NumPy's name for it; "" for sequences, maps and other types that arrays have not."""
        return _DTYPES.get(self.type.removeprefix("tensor(").removesuffix(")"), "")

    def __str__(self) -> str:
        shape = ", ".join(str(each or "any") for each in self.shape)
        return f"{self.name!r} takes {self.type} of shape ({shape})"


@dataclass(frozen=True, slots=True)
class Alone:
    """What is not to be put together with the arrays of another request."""

    arrays: Any  # one, or a dict of them by name


def find(model_dir: str) -> str:
    """`model.onnx`, or the only other `.onnx` file. Raises UnusableModel where that is none."""
    advice = "give it one, or code/inference.py with a model_fn."
    return model_files.find_one(model_dir, ("model.onnx", "*.onnx"), advice)


def open_session(path: str) -> onnxruntime.InferenceSession:
    """A session of as many threads as this process shall have.

    Raises MemoryError, and UnusableModel for files that cannot be run.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or 1)
    options.inter_op_num_threads = 1
    # Threads that wait by spinning take the CPU from the models next door.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # The arena never gives memory back; without it a model keeps what it needs and nothing else.
    options.enable_cpu_mem_arena = False
    try:
        return onnxruntime.InferenceSession(
            path, sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        if _NO_MEMORY.search(str(error)):
            raise MemoryError(str(error)) from error
        raise model_files.unusable(path, str(error)) from error


class Network:
    """A session, and what it takes."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self.inputs = tuple(map(_slot, session.get_inputs()))
        self.outputs = tuple(map(_slot, session.get_outputs()))

    @property
    def batches(self) -> bool:
        """Whether rows of different requests may be put together: every input and output is open
        in its first dimension, and that one is a batch by its name or has none."""
        slots = [*self.inputs, *self.outputs]
        return all(slot.dtype and slot.shape and _is_batch(slot.shape[0]) for slot in slots)

    def preprocess(self) -> images.Preprocess | None:
        """What pictures need for this model, as far as it can be told; None if it takes none."""
        if len(self.inputs) != 1:
            return None
        slot = self.inputs[0]
        if not slot.dtype or slot.dtype in {"object", "bool"} or len(slot.shape) != 4:
            return None
        layouts = [name for name in images.LAYOUTS if slot.shape[name.index("C")] in {1, 3}]
        return _preprocess(slot, layouts[0]) if layouts else None

    def feeds(self, given: Any) -> dict[str, Any]:
        """Arrays by name as the inputs take them, from one array or a dict of them.

        Raises MalformedInputError, with what is taken and what was given.
        """
        names = [slot.name for slot in self.inputs]
        if not isinstance(given, dict):
            if len(names) != 1:
                raise MalformedInputError(
                    f"The model takes {len(names)} inputs by name: {', '.join(names)}."
                )
            given = {names[0]: given}
        if set(given) != set(names):
            raise MalformedInputError(
                f"The model's inputs are {', '.join(names)}, and the body has {', '.join(given)}."
            )
        return {slot.name: _fit(slot, given[slot.name]) for slot in self.inputs}

    def run(self, data: Any) -> Any:
        """The output, or a dict of outputs by name, for an array or a dict of arrays.

        Raises MemoryError, and MalformedInputError where the model cannot work on such arrays.
        """
        feeds = data if isinstance(data, dict) else {self.inputs[0].name: data}
        try:
            results = self._session.run(None, feeds)
        except _FAILURES as error:
            if _NO_MEMORY.search(str(error)):
                raise MemoryError(str(error)) from error
            raise MalformedInputError(
                f"The model cannot work on this input: {error!s:.500}"
            ) from error
        named = {slot.name: result for slot, result in zip(self.outputs, results, strict=True)}
        return named if len(named) > 1 else results[0]


def _preprocess(slot: Slot, layout: str) -> images.Preprocess:
    dimensions = dict(zip(layout, slot.shape, strict=True))
    height, width = (
        side if isinstance(side := dimensions[each], int) else _PICTURE_SIDE for each in "HW"
    )
    whole = np.dtype(slot.dtype).kind in "iu"
    result = images.raw((height, width)) if whole else images.Preprocess((height, width))
    result = replace(result, layout=layout)
    return images.grey(result) if dimensions["C"] == 1 else result


def _slot(argument: Any) -> Slot:
    shape = (each if isinstance(each, int) else (each or "") for each in argument.shape)
    return Slot(argument.name, argument.type, tuple(shape))


def _is_batch(dimension: int | str) -> bool:
    return isinstance(dimension, str) and _BATCH.fullmatch(dimension) is not None


def _fit(slot: Slot, given: Any) -> Any:
    """An array as the input takes it; one row where it is open in its first dimension and the body
    has just that. Raises MalformedInputError."""
    if not slot.dtype:
        raise MalformedInputError(f"The input {slot}: give the model an input_fn that makes it.")
    array = tensors.cast(np.asarray(given), slot.dtype, f"The input {slot.name!r}")
    first = slot.shape[0] if slot.shape else 0
    if array.ndim == len(slot.shape) - 1 and (first == 1 or isinstance(first, str)):
        array = array[np.newaxis]
    fixed = zip(slot.shape, array.shape, strict=False)
    if array.ndim != len(slot.shape) or any(a != b for a, b in fixed if isinstance(a, int)):
        raise MalformedInputError(f"The input {slot}, and the body has {np.shape(given)}.")
    return array
