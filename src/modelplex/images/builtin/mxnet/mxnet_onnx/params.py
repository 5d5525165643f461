"""Reads `.params` files: named arrays, memory-mapped, without MXNet.

All numbers are little-endian. u64 0x112, u64 0, u64 n, then n arrays; u64 n, then n names, each
u64 length and UTF-8, prefixed `arg:` or `aux:`. An array is, by its first u32:

0xF993FAC9, 0xF993FACA   i32 storage (0 is dense), i32 dimensions, i64 each, device, dtype, data
0xF993FAC8               u32 dimensions, i64 each, device, dtype, data      (MXNet 0.9 to 0.12)
anything else            that is u32 dimensions, u32 each, device, dtype, data          (before)

where device is two i32 and dtype one. As `NDArray::Save`, `Load` and `LegacyLoad` of MXNet 1.9.1
have it.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mxnet_onnx.errors import ConversionError

_LIST_MAGIC = 0x112
_V1, _V2, _V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
_DENSE = 0
_DIMENSIONS_MAX = 32
_DTYPES = {0: "<f4", 1: "<f8", 2: "<f2", 3: "u1", 4: "<i4", 5: "i1", 6: "<i8", 7: "?"}


@dataclass(frozen=True, slots=True)
class Stored:
    """Where one array lies in the file. `dtype` is NumPy's name; sizes are bytes."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    length: int


class Params:
    """The arrays of one file by name, without `arg:` and `aux:`. Raises ConversionError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with open(path, "rb") as file:
            try:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except ValueError:  # an empty file cannot be mapped
                raise ConversionError(f"{path.name} is empty") from None
        self.stored = _Cursor(self._bytes, path.name).table()

    def array(self, name: str) -> Any:
        """One array, its data still in the file; read-only."""
        found = self.stored[name]
        count = math.prod(found.shape)
        flat = np.frombuffer(self._bytes, found.dtype, count, found.offset)
        return flat.reshape(found.shape)


class _Cursor:
    """A place in the file that only moves on, and never beyond the end."""

    def __init__(self, data: mmap.mmap, name: str) -> None:
        self._data = data
        self._name = name
        self._at = 0

    def table(self) -> dict[str, Stored]:
        magic, _, count = self._take("<QQQ")
        if magic != _LIST_MAGIC:
            raise self._broken(f"it begins with {magic:#x}, not with {_LIST_MAGIC:#x}")
        arrays = [self._array() for _ in range(self._bounded(count, 4))]
        named = self._take("<Q")[0]
        if named != count:
            raise self._broken(f"it has {count} arrays and {named} names")
        names = [self._text() for _ in range(named)]
        pairs = zip(names, arrays, strict=True)
        return {name.partition(":")[2] or name: array for name, array in pairs if array}

    def _array(self) -> Stored | None:
        """None for an array that has no data."""
        magic = self._take("<I")[0]
        if magic in (_V2, _V3) and (storage := self._take("<i")[0]) != _DENSE:
            raise self._broken(f"array storage {storage} is sparse: save the weights as dense")
        shape = self._shape(magic)
        if not shape and magic != _V3:
            return None
        *_, kind = self._take("<iii")
        if kind not in _DTYPES:
            raise self._broken(f"type number {kind} of an array is not known")
        dtype = _DTYPES[kind]
        length = math.prod(shape) * np.dtype(dtype).itemsize
        return Stored(dtype, shape, self._skip(length), length)

    def _shape(self, magic: int) -> tuple[int, ...]:
        modern = magic in (_V1, _V2, _V3)
        dimensions = self._take("<i")[0] if modern else magic
        if not 0 <= dimensions <= _DIMENSIONS_MAX:
            raise self._broken(f"an array claims {dimensions} dimensions")
        shape = self._take(f"<{dimensions}{'q' if modern else 'I'}")
        if any(size < 0 for size in shape):
            raise self._broken(f"an array claims the shape {shape}")
        return shape

    def _text(self) -> str:
        length = self._take("<Q")[0]
        at = self._skip(length)
        try:
            return self._data[at : at + length].decode()
        except UnicodeDecodeError:
            raise self._broken("the name of an array is not UTF-8") from None

    def _take(self, form: str) -> tuple[int, ...]:
        at = self._skip(struct.calcsize(form))
        return struct.unpack_from(form, self._data, at)

    def _skip(self, length: int) -> int:
        """The place that is left behind; ConversionError where the file ends before."""
        at, left = self._at, len(self._data) - self._at
        if length > left:
            raise self._broken(f"it ends at byte {len(self._data)}, {length - left} too early")
        self._at += length
        return at

    def _bounded(self, count: int, size: int) -> int:
        """`count` things of at least `size` bytes, if that many can follow."""
        if count * size > len(self._data) - self._at:
            raise self._broken(f"it claims {count} arrays in {len(self._data)} bytes")
        return count

    def _broken(self, what: str) -> ConversionError:
        return ConversionError(f"{self._name} is no .params file of MXNet: {what}")
