"""Operators that put values into other shapes, join them and cut them, and reduce axes."""

from __future__ import annotations

from functools import partial

from mxnet_onnx.builder import Builder, Operator
from mxnet_onnx.errors import ConversionError
from mxnet_onnx.onnx_file import TYPES

_END = 2**63 - 1
_CASTS = {
    "float16": "float32",  # as weights are
    "float64": "float32",
    "float32": "float32",
    "uint8": "uint8",
    "int8": "int8",
    "int32": "int32",
    "int64": "int64",
    "bool": "bool",
}


def flatten(builder: Builder, inputs: list[str]) -> list[str]:
    """Everything behind the rows in one dimension."""
    return [builder.ranked(builder.add("Flatten", inputs[0], axis=1), 2)]


def reshape(builder: Builder, inputs: list[str]) -> list[str]:
    """By MXNet's codes: 0 keeps a length, -1 takes what is left, -2 keeps all that follow, -3 joins
    two, -4 splits one into the next two numbers."""
    given = builder.node.attributes
    given.fixed("reverse", "False", "0")
    codes = given.integers("shape") or given.integers("target_shape")
    if not codes:
        raise ConversionError(f"{builder.node} has no shape")
    if all(code >= -1 for code in codes):
        # Zeros keep the length at their own place, in MXNet as in ONNX.
        out = builder.add("Reshape", inputs[0], builder.integers(*codes))
        return [builder.ranked(out, len(codes))]
    parts, rank = _lengths(builder, inputs[0], list(codes))
    target = builder.add("Concat", *parts, axis=0)
    return [builder.ranked(builder.add("Reshape", inputs[0], target), rank)]


def transpose(builder: Builder, inputs: list[str]) -> list[str]:
    """Axes in another order, reversed unless told."""
    axes = builder.node.attributes.integers("axes")
    rank = len(axes) or builder.rank(inputs[0])
    return [builder.add("Transpose", inputs[0], perm=axes or tuple(reversed(range(rank))))]


def swap_axes(builder: Builder, inputs: list[str]) -> list[str]:
    """Two axes exchanged."""
    given = builder.node.attributes
    order = list(range(builder.rank(inputs[0])))
    one = builder.axis(inputs[0], given.integer("dim1", 0))
    other = builder.axis(inputs[0], given.integer("dim2", 0))
    order[one], order[other] = order[other], order[one]
    return [builder.add("Transpose", inputs[0], perm=order)]


def expand_dims(builder: Builder, inputs: list[str]) -> list[str]:
    """A dimension of length 1 more."""
    axis = builder.integers(builder.node.attributes.integer("axis"))
    rank = builder.ranks.get(inputs[0])
    out = builder.add("Unsqueeze", inputs[0], axis)
    return [builder.ranked(out, None if rank is None else rank + 1)]


def squeeze(builder: Builder, inputs: list[str]) -> list[str]:
    """Dimensions of length 1 left out."""
    axes = builder.node.attributes.integers("axis")
    if not axes:
        raise ConversionError(f"{builder.node} names no axis: which ones are meant is not known")
    rank = builder.ranks.get(inputs[0])
    out = builder.add("Squeeze", inputs[0], builder.integers(*axes))
    return [builder.ranked(out, None if rank is None else rank - len(axes))]


def concat(builder: Builder, inputs: list[str]) -> list[str]:
    """One behind the other, channels unless told."""
    return [builder.add("Concat", *inputs, axis=builder.node.attributes.integer("dim", 1))]


def stack(builder: Builder, inputs: list[str]) -> list[str]:
    """Along a new axis."""
    axis = builder.node.attributes.integer("axis", 0)
    place = builder.integers(axis)
    rank = builder.ranks.get(inputs[0])
    out = builder.add(
        "Concat", *(builder.add("Unsqueeze", one, place) for one in inputs), axis=axis
    )
    return [builder.ranked(out, None if rank is None else rank + 1)]


def split(builder: Builder, inputs: list[str]) -> list[str]:
    """Into equal parts."""
    given = builder.node.attributes
    axis, count = given.integer("axis", 1), given.integer("num_outputs")
    outputs = builder.split("Split", count, inputs[0], axis=axis, num_outputs=count)
    rank = builder.ranks.get(inputs[0])
    if given.flag("squeeze_axis", False):
        rank = None if rank is None else rank - 1
        outputs = [builder.add("Squeeze", one, builder.integers(axis)) for one in outputs]
    return [builder.ranked(one, rank) for one in outputs]


def slice_axis(builder: Builder, inputs: list[str]) -> list[str]:
    """From `begin` to `end` along one axis."""
    given = builder.node.attributes
    axis, begin = given.integer("axis"), given.integer("begin", 0)
    end = (given.bounds("end") or (None,))[0]
    return [_sliced(builder, inputs[0], [(axis, begin, _END if end is None else end, 1)])]


def slices(builder: Builder, inputs: list[str]) -> list[str]:
    """From `begin` to `end` by `step`, along the first axes."""
    given = builder.node.attributes
    begins, ends, steps = (given.bounds(name) for name in ("begin", "end", "step"))
    cuts = []
    for axis, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        step = (steps[axis : axis + 1] or (None,))[0] or 1
        first, last = (0, _END) if step > 0 else (_END, -_END)
        cut = (first if begin is None else begin, last if end is None else end)
        cuts.append((axis, *cut, step))
    return [_sliced(builder, inputs[0], cuts)]


def pad(builder: Builder, inputs: list[str]) -> list[str]:
    """Values around: MXNet says before and after for each axis, ONNX all before, all after."""
    given = builder.node.attributes
    mode = given.choice("mode", "", {"constant": "constant", "edge": "edge", "reflect": "reflect"})
    widths = given.integers("pad_width")
    around = builder.integers(*widths[::2], *widths[1::2])
    filled = [builder.scalar(given.number("constant_value", 0.0))] if mode == "constant" else []
    return [builder.add("Pad", inputs[0], around, *filled, mode=mode)]


def cast(builder: Builder, inputs: list[str]) -> list[str]:
    """To another type; floats of any width are computed in float32."""
    dtype = builder.node.attributes.choice("dtype", "", _CASTS)
    return [builder.add("Cast", inputs[0], to=TYPES[dtype])]


def reduce(op: str, builder: Builder, inputs: list[str]) -> list[str]:
    """Sum, mean and their like over the named axes, over all without a name."""
    given = builder.node.attributes
    keep, axes = given.flag("keepdims", False), given.integers("axis")
    if given.flag("exclude", False):
        named = {builder.axis(inputs[0], axis) for axis in axes}
        axes = tuple(axis for axis in range(builder.rank(inputs[0])) if axis not in named)
    if not axes and not keep:  # one number is an array of one, in MXNet
        everything = builder.add(op, inputs[0], keepdims=0)
        return [builder.ranked(builder.add("Reshape", everything, builder.integers(1)), 1)]
    over = [builder.integers(*axes)] if axes else []
    out = builder.add(op, inputs[0], *over, keepdims=int(keep))
    rank = builder.ranks.get(inputs[0])
    return [builder.ranked(out, rank if keep or rank is None else rank - len(axes))]


def dot(builder: Builder, inputs: list[str]) -> list[str]:
    """Matrix product of two matrices, or of two stacks of them."""
    given = builder.node.attributes
    if builder.node.op == "dot" and any(builder.rank(one) != 2 for one in inputs):
        raise ConversionError(f"{builder.node}: only products of two matrices are known")
    sides = list(inputs)
    for number, name in enumerate(("transpose_a", "transpose_b")):
        if given.flag(name, False):
            order = list(range(builder.rank(inputs[number])))
            order[-2:] = order[:-3:-1]
            sides[number] = builder.add("Transpose", inputs[number], perm=order)
    return [builder.add("MatMul", *sides)]


def _sliced(builder: Builder, data: str, cuts: list[tuple[int, int, int, int]]) -> str:
    axes, begins, ends, steps = (builder.integers(*values) for values in zip(*cuts, strict=True))
    return builder.add("Slice", data, begins, ends, axes, steps)


def _lengths(builder: Builder, data: str, codes: list[int]) -> tuple[list[str], int | None]:
    """The lengths that codes stand for, as values of one dimension to be joined, and their sum."""
    shape, parts, at, rank = builder.add("Shape", data), [], 0, 0
    known: int | None = builder.ranks.get(data)
    cut = partial(_cut, builder, shape)
    while codes:
        code = codes.pop(0)
        if code == -2:
            parts.append(cut(at, _END))
            rank, at = (0 if known is None else rank + known - at), (known or 0)
        elif code == -3:
            parts.append(builder.add("Mul", cut(at, at + 1), cut(at + 1, at + 2)))
            rank, at = rank + 1, at + 2
        elif code == -4:
            parts += _halves(builder, cut(at, at + 1), codes.pop(0), codes.pop(0))
            rank, at = rank + 2, at + 1
        else:
            parts.append(cut(at, at + 1) if code == 0 else builder.integers(code))
            rank, at = rank + 1, at + 1
    return parts, None if known is None else rank


def _halves(builder: Builder, length: str, one: int, other: int) -> list[str]:
    """A length as two factors, of which one may be -1: what is left."""
    if one == -1:
        return [builder.add("Div", length, builder.integers(other)), builder.integers(other)]
    if other == -1:
        return [builder.integers(one), builder.add("Div", length, builder.integers(one))]
    return [builder.integers(one), builder.integers(other)]


def _cut(builder: Builder, shape: str, begin: int, end: int) -> str:
    return _sliced(builder, shape, [(0, begin, end, 1)])


OPERATORS: dict[str, Operator] = {
    "Flatten": flatten,
    "flatten": flatten,
    "Reshape": reshape,
    "reshape": reshape,
    "transpose": transpose,
    "SwapAxis": swap_axes,
    "swapaxes": swap_axes,
    "expand_dims": expand_dims,
    "squeeze": squeeze,
    "Concat": concat,
    "concat": concat,
    "stack": stack,
    "SliceChannel": split,
    "split": split,
    "slice_axis": slice_axis,
    "slice": slices,
    "Pad": pad,
    "pad": pad,
    "Cast": cast,
    "cast": cast,
    "mean": partial(reduce, "ReduceMean"),
    "sum": partial(reduce, "ReduceSum"),
    "sum_axis": partial(reduce, "ReduceSum"),
    "max": partial(reduce, "ReduceMax"),
    "min": partial(reduce, "ReduceMin"),
    "prod": partial(reduce, "ReduceProd"),
    "dot": dot,
    "batch_dot": dot,
}
