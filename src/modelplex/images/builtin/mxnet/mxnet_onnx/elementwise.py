"""Operators that work on each number by itself."""

from __future__ import annotations

from functools import partial, reduce

from mxnet_onnx.builder import Builder, Operator

_UNARY = {
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "softsign": "Softsign",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "abs": "Abs",
    "negative": "Neg",
    "erf": "Erf",
    "floor": "Floor",
    "ceil": "Ceil",
    "reciprocal": "Reciprocal",
    "sin": "Sin",
    "cos": "Cos",
}
_BINARY = {
    "Add": ("elemwise_add", "_Plus", "_plus", "_add", "broadcast_add", "broadcast_plus"),
    "Sub": ("elemwise_sub", "_Minus", "_minus", "_sub", "broadcast_sub", "broadcast_minus"),
    "Mul": ("elemwise_mul", "_Mul", "_mul", "broadcast_mul"),
    "Div": ("elemwise_div", "_Div", "_div", "broadcast_div"),
    "Pow": ("_Power", "_power", "broadcast_power"),
    "Max": ("_Maximum", "_maximum", "broadcast_maximum"),
    "Min": ("_Minimum", "_minimum", "broadcast_minimum"),
}
_SCALAR = {
    "Add": ("_plus_scalar", "_PlusScalar"),
    "Sub": ("_minus_scalar", "_MinusScalar"),
    "Mul": ("_mul_scalar", "_MulScalar"),
    "Div": ("_div_scalar", "_DivScalar"),
    "Pow": ("_power_scalar", "_PowerScalar"),
    "Max": ("_maximum_scalar", "_MaximumScalar"),
    "Min": ("_minimum_scalar", "_MinimumScalar"),
}
_SCALAR_FIRST = {
    "Sub": ("_rminus_scalar", "_RMinusScalar"),
    "Div": ("_rdiv_scalar", "_RDivScalar"),
    "Pow": ("_rpower_scalar", "_RPowerScalar"),
}


def unary(op: str, builder: Builder, inputs: list[str]) -> list[str]:
    """One value in."""
    return [builder.add(op, inputs[0])]


def binary(op: str, builder: Builder, inputs: list[str]) -> list[str]:
    """Two values in, one of which may be stretched."""
    ranks = [builder.ranks.get(each) for each in inputs]
    known = [rank for rank in ranks if rank is not None]
    whole = max(known) if len(known) == len(ranks) else None
    return [builder.ranked(builder.add(op, *inputs[:2]), whole)]


def scalar(op: str, builder: Builder, inputs: list[str]) -> list[str]:
    """A value and a number."""
    number = builder.scalar(builder.node.attributes.number("scalar"))
    return [builder.add(op, inputs[0], number)]


def scalar_first(op: str, builder: Builder, inputs: list[str]) -> list[str]:
    """A number and a value."""
    number = builder.scalar(builder.node.attributes.number("scalar"))
    return [builder.add(op, number, inputs[0])]


def add_all(builder: Builder, inputs: list[str]) -> list[str]:
    """The sum of any number of values."""
    return [reduce(partial(builder.add, "Add"), inputs)]


def clip(builder: Builder, inputs: list[str]) -> list[str]:
    """Not less and not more than the bounds."""
    given = builder.node.attributes
    bounds = (builder.scalar(given.number("a_min")), builder.scalar(given.number("a_max")))
    return [builder.add("Clip", inputs[0], *bounds)]


def square(builder: Builder, inputs: list[str]) -> list[str]:
    """Times itself."""
    return [builder.add("Mul", inputs[0], inputs[0])]


def rsqrt(builder: Builder, inputs: list[str]) -> list[str]:
    """One by the square root."""
    return [builder.add("Reciprocal", builder.add("Sqrt", inputs[0]))]


def hard_sigmoid(builder: Builder, inputs: list[str]) -> list[str]:
    """A line between 0 and 1."""
    given = builder.node.attributes
    alpha, beta = given.number("alpha", 0.2), given.number("beta", 0.5)
    return [builder.add("HardSigmoid", inputs[0], alpha=alpha, beta=beta)]


OPERATORS: dict[str, Operator] = {
    **{name: partial(unary, op) for name, op in _UNARY.items()},
    **{name: partial(binary, op) for op, names in _BINARY.items() for name in names},
    **{name: partial(scalar, op) for op, names in _SCALAR.items() for name in names},
    **{name: partial(scalar_first, op) for op, names in _SCALAR_FIRST.items() for name in names},
    "ElementWiseSum": add_all,
    "add_n": add_all,
    "clip": clip,
    "square": square,
    "rsqrt": rsqrt,
    "hard_sigmoid": hard_sigmoid,
}
