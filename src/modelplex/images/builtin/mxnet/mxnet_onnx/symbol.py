"""Reads `-symbol.json` files: a network's nodes in the order of computation.

Old files are brought up to date as MXNet does it when it loads them (`legacy_json_util.cc`):
attributes under `param` and `attr`, entries without a version, BatchNorm without its statistics.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from mxnet_onnx.attributes import Attributes
from mxnet_onnx.errors import ConversionError

_VARIABLE = "null"
_WITH_STATISTICS = {"BatchNorm", "BatchNorm_v1", "CuDNNBatchNorm"}
_STATISTICS = ("moving_mean", "moving_var")
NODES_MAX = 100_000

Entry = tuple[int, int]  # the number of a node, and which of its outputs


@dataclass(frozen=True, slots=True)
class Node:
    """One operator at work, or a variable: an input or a parameter, whose `op` is ""."""

    op: str
    name: str
    inputs: tuple[Entry, ...]
    attributes: Attributes

    def __str__(self) -> str:
        return f"{self.op or 'variable'} {self.name!r}"


@dataclass(frozen=True, slots=True)
class Network:
    """Nodes, each behind those it depends on, and the entries that are the network's outputs."""

    nodes: tuple[Node, ...]
    heads: tuple[Entry, ...]


def parse(text: str | bytes, source: str) -> Network:
    """Raises ConversionError, naming `source`."""
    try:
        document = json.loads(text)
        listed, numbers = _upgraded(document["nodes"])
        heads = [_renumbered(head, numbers) for head in document["heads"]]
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        text = f"{source} is no network of MXNet: {type(error).__name__}: {error}"
        raise ConversionError(text) from None
    if not heads or len(listed) > NODES_MAX:
        raise ConversionError(f"{source} has {len(heads)} outputs and {len(listed)} nodes")
    return Network(tuple(listed), tuple(heads))


def _upgraded(found: list[Any]) -> tuple[list[Node], list[int]]:
    """The nodes, and the new number of each that the file has: missing statistics come in front of
    the node that needs them."""
    nodes: list[Node] = []
    numbers: list[int] = []
    for each in found:
        node = _node(each, numbers)
        if node.op in _WITH_STATISTICS and len(node.inputs) == 3:
            extra = tuple((len(nodes) + at, 0) for at in range(len(_STATISTICS)))
            nodes += [_variable(f"{node.name}_{name}") for name in _STATISTICS]
            node = Node(node.op, node.name, node.inputs + extra, node.attributes)
        numbers.append(len(nodes))
        nodes.append(node)
    return nodes, numbers


def _variable(name: str) -> Node:
    return Node("", name, (), Attributes({}, name))


def _node(found: Any, numbers: list[int]) -> Node:
    op = "" if found["op"] == _VARIABLE else str(found["op"])
    name = str(found["name"])
    texts: dict[str, str] = {}
    for spelling in ("attr", "attrs", "param"):
        texts |= {str(key): str(value) for key, value in (found.get(spelling) or {}).items()}
    inputs = tuple(_renumbered(entry, numbers) for entry in found["inputs"])
    return Node(op, name, inputs, Attributes(texts, f"{op} {name!r}"))


def _renumbered(found: Any, numbers: list[int]) -> Entry:
    """An entry of the file. Raises IndexError for one of a node that does not come before."""
    number, output = int(found[0]), int(found[1])
    if number < 0 or output < 0:
        raise IndexError(f"there is no output {found}")
    return numbers[number], output
