"""A network of MXNet as an ONNX model whose weights stay where they are: in the `.params` file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mxnet_onnx.builder import Builder
from mxnet_onnx.errors import ConversionError
from mxnet_onnx.onnx_file import Graph, Input
from mxnet_onnx.operators import INPUTS_FOR_PREDICTION, OPERATORS
from mxnet_onnx.params import Params
from mxnet_onnx.symbol import Entry, Network, Node

Signature = Mapping[str, tuple[int, ...]]  # the shapes of inputs; the first length is the rows'


def convert(network: Network, params: Params, signature: Signature) -> bytes:
    """The model. Weights are no inputs of it, or onnxruntime would not fold them into others.

    Raises ConversionError for an operator that is not known, and whatever else cannot be said.
    """
    graph = Graph()
    builder = Builder(params, graph, network.nodes[0])
    values: dict[Entry, str] = {}
    for number in sorted(_needed(network)):
        builder.node = node = network.nodes[number]
        if node.op:
            outputs = _operator(builder, [_value(values, entry, node) for entry in _inputs(node)])
        else:
            outputs = [_variable(builder, node.name, signature)]
        values |= {(number, place): output for place, output in enumerate(outputs)}
    for number, place in network.heads:
        name = network.nodes[number].name
        output = f"{name}_output{place or ''}"
        graph.node("Identity", [_value(values, (number, place), network.nodes[number])], [output])
        graph.outputs.append(output)
    return graph.model()


def inputs_of(network: Network, params: Params) -> list[str]:
    """The names of the inputs, in the network's order."""
    nodes = (network.nodes[number] for number in sorted(_needed(network)))
    return [node.name for node in nodes if not node.op and node.name not in params.stored]


def _operator(builder: Builder, inputs: list[str]) -> list[str]:
    node = builder.node
    operator = OPERATORS.get(node.op)
    if operator is None:
        raise ConversionError(f"the operator {node.op} (node {node.name!r}) is not known here")
    try:
        outputs = operator(builder, inputs)
    except (IndexError, ValueError) as error:
        if isinstance(error, ConversionError):
            raise
        raise ConversionError(f"{node} with {len(inputs)} inputs is broken: {error}") from error
    if inputs and outputs[0] not in builder.ranks:
        builder.ranked(outputs[0], builder.ranks.get(inputs[0]))
    return outputs


def _variable(builder: Builder, name: str, signature: Signature) -> str:
    if name in builder.params.stored:
        return builder.parameter(name)
    shape = signature.get(name)
    if signature and shape is None:
        text = f"{name!r} is neither among the parameters nor among the inputs {list(signature)}"
        raise ConversionError(text)
    rows = None if shape is None else (None, *shape[1:])
    builder.graph.inputs.append(Input(name, rows))
    return builder.ranked(name, None if shape is None else len(shape))


def _value(values: Mapping[Entry, str], entry: Entry, node: Node) -> str:
    if entry not in values:
        raise ConversionError(f"{node} uses an output that prediction does not have: {entry}")
    return values[entry]


def _inputs(node: Node) -> Sequence[Entry]:
    return node.inputs[: INPUTS_FOR_PREDICTION.get(node.op, len(node.inputs))]


def _needed(network: Network) -> set[int]:
    """The nodes that the outputs depend on."""
    needed: set[int] = set()
    waiting = [number for number, _ in network.heads]
    while waiting:
        number = waiting.pop()
        if number not in needed:
            needed.add(number)
            waiting += [other for other, _ in _inputs(network.nodes[number])]
    return needed
