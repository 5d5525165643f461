"""Writes ONNX models: the few messages of `onnx.proto` that are needed, in protobuf's encoding.

The package `onnx` would do the same; it costs 0.2 s to import, 12 MB of memory and 31 MB of disk,
more than everything else that converts a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

OPSET = 18
_IR_VERSION = 8
_VARINT, _BYTES, _FIXED32 = 0, 2, 5  # wire types
_FLOAT, _INT, _STRING, _INTS = 1, 2, 3, 7  # AttributeProto.AttributeType
_EXTERNAL = 1  # TensorProto.DataLocation
TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "bool": 9, "float64": 11}

Value = float | int | str | Sequence[int]


@dataclass(frozen=True, slots=True)
class Input:
    """One input of the model; None for a length that is not fixed, no shape for any."""

    name: str
    shape: tuple[int | None, ...] | None


@dataclass(slots=True)
class Graph:
    """A model as it grows: encoded messages."""

    nodes: list[bytes] = field(default_factory=list)
    tensors: list[bytes] = field(default_factory=list)
    inputs: list[Input] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)

    def node(
        self, op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Value
    ) -> None:
        """NodeProto."""
        parts = [_text(1, name) for name in inputs]
        parts += [_text(2, name) for name in outputs]
        parts.append(_text(4, op))
        parts += [_block(5, _attribute(name, value)) for name, value in attributes.items()]
        self.nodes.append(b"".join(parts))

    def tensor(self, name: str, array: Any) -> None:
        """TensorProto with its data inside."""
        head = _tensor_head(name, array.dtype.name, array.shape)
        self.tensors.append(head + _block(9, np.ascontiguousarray(array).tobytes()))

    def external(self, name: str, dtype: str, shape: Sequence[int], place: dict[str, str]) -> None:
        """TensorProto with its data in another file: `location`, `offset` and `length`."""
        entries = [_block(13, _text(1, key) + _text(2, text)) for key, text in place.items()]
        head = _tensor_head(name, dtype, shape)
        self.tensors.append(head + b"".join(entries) + _number(14, _EXTERNAL))

    def model(self) -> bytes:
        """ModelProto."""
        parts = [_block(1, node) for node in self.nodes]
        parts.append(_text(2, "network"))
        parts += [_block(5, tensor) for tensor in self.tensors]
        parts += [_block(11, _value_info(one)) for one in self.inputs]
        parts += [_block(12, _value_info(Input(name, None))) for name in self.outputs]
        opset = _block(8, _text(1, "") + _number(2, OPSET))
        producer = _text(2, "modelplex")
        return _number(1, _IR_VERSION) + producer + _block(7, b"".join(parts)) + opset


def _tensor_head(name: str, dtype: str, shape: Sequence[int]) -> bytes:
    lengths = b"".join(_number(1, length) for length in shape)
    return lengths + _number(2, TYPES[dtype]) + _text(8, name)


def _value_info(value: Input) -> bytes:
    kind = _number(1, TYPES["float32"])
    if value.shape is not None:
        lengths = (_dimension(value.name, length) for length in value.shape)
        kind += _block(2, b"".join(_block(1, length) for length in lengths))
    return _text(1, value.name) + _block(2, _block(1, kind))


def _dimension(name: str, length: int | None) -> bytes:
    return _text(2, "rows") if length is None else _number(1, length)


def _attribute(name: str, value: Value) -> bytes:
    if isinstance(value, float):
        body = _tag(2, _FIXED32) + np.float32(value).tobytes() + _number(20, _FLOAT)
    elif isinstance(value, int):
        body = _number(3, value) + _number(20, _INT)
    elif isinstance(value, str):
        body = _text(4, value) + _number(20, _STRING)
    else:
        body = b"".join(_number(8, each) for each in value) + _number(20, _INTS)
    return _text(1, name) + body


def _text(number: int, text: str) -> bytes:
    return _block(number, text.encode())


def _block(number: int, body: bytes) -> bytes:
    return _tag(number, _BYTES) + _varint(len(body)) + body


def _number(number: int, value: int) -> bytes:
    return _tag(number, _VARINT) + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)


def _tag(number: int, wire: int) -> bytes:
    return _varint(number << 3 | wire)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
