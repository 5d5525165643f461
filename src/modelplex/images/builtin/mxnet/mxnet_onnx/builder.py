"""The ONNX model under construction, as operators see it: values by name, with what is known of
their ranks, and constants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mxnet_onnx.errors import ConversionError
from mxnet_onnx.onnx_file import Graph, Value
from mxnet_onnx.params import Params, Stored
from mxnet_onnx.symbol import Node

_AS_FLOAT32 = {"float16", "float64"}  # onnxruntime's kernels on CPUs are for float32


@dataclass(slots=True)
class Builder:
    """`node` is the one that is being converted."""

    params: Params
    graph: Graph
    node: Node
    ranks: dict[str, int] = field(default_factory=dict)  # of values where they are known
    _given: set[str] = field(default_factory=set)  # parameters that the graph has
    _made: int = 0

    def add(self, op: str, *inputs: str, **attributes: Value) -> str:
        """A node with one output; that output's name."""
        return self.split(op, 1, *inputs, **attributes)[0]

    def split(self, op: str, outputs: int, *inputs: str, **attributes: Value) -> list[str]:
        """A node with several outputs."""
        made = [self._name(self.node.name) for _ in range(outputs)]
        self.graph.node(op, inputs, made, **attributes)
        return made

    def integers(self, *values: int) -> str:
        """A constant of one dimension."""
        return self.constant(np.array(values, np.int64))

    def scalar(self, value: float) -> str:
        """A constant without dimensions."""
        return self.constant(np.array(value, np.float32))

    def constant(self, array: Any) -> str:
        """Any constant."""
        name = self._name("constant")
        self.graph.tensor(name, array)
        return name

    def parameter(self, name: str) -> str:
        """The name of a parameter, which is in the graph from now on.

        Its data stays in the `.params` file, unless it is of a type that has to be changed.
        """
        if name not in self._given:
            self._given.add(name)
            self._give(name, self.params.stored[name])
        return name

    def shape_of(self, name: str) -> tuple[int, ...]:
        """The shape of a parameter. Raises ConversionError where `name` is none."""
        if name in self.params.stored:
            return self.params.stored[name].shape
        raise ConversionError(f"{self.node}: {name!r} is not among the parameters")

    def rank(self, value: str) -> int:
        """How many dimensions a value has. Raises ConversionError where that is not known."""
        if value in self.ranks:
            return self.ranks[value]
        text = f"{self.node} needs to know how many dimensions its input has: add NAME-shapes.json"
        raise ConversionError(text)

    def ranked(self, value: str, rank: int | None) -> str:
        """`value`, whose rank is known from now on."""
        if rank is not None:
            self.ranks[value] = rank
        return value

    def axis(self, value: str, axis: int) -> int:
        """An axis counted from the front."""
        return axis + self.rank(value) if axis < 0 else axis

    def per_channel(self, parameter: str, value: str) -> str:
        """A parameter of one dimension, so that it lies along axis 1 of `value`."""
        behind = max(0, self.rank(value) - 2)
        return self.add("Reshape", parameter, self.integers(-1, *[1] * behind))

    def _give(self, name: str, stored: Stored) -> None:
        dtype = np.dtype(stored.dtype).name
        self.ranks[name] = len(stored.shape)
        if dtype in _AS_FLOAT32:
            self.graph.tensor(name, self.params.array(name).astype(np.float32))
            return
        place = {"offset": str(stored.offset), "length": str(stored.length)}
        location = {"location": self.params.path.name}
        self.graph.external(name, dtype, stored.shape, location | place)

    def _name(self, hint: str) -> str:
        self._made += 1
        return f"{hint}:{self._made}"  # no variable of the network has this name


Operator = Callable[[Builder, list[str]], list[str]]  # the node's inputs -> its outputs


def pair(values: Sequence[int], default: int, kernel: Sequence[int]) -> list[int]:
    """One number for each direction of the kernel."""
    return list(values) or [default] * len(kernel)
