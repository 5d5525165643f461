"""Layers: convolutions, pooling, normalizations, activations, and the outputs for training."""

from __future__ import annotations

import numpy as np

from mxnet_onnx.builder import Builder, Operator, pair
from mxnet_onnx.errors import ConversionError

_ACTIVATIONS = {
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "softrelu": "Softplus",
    "softsign": "Softsign",
}
_SELU_ALPHA, _SELU_GAMMA = 1.6732632423543772, 1.0507009873554805


def convolution(builder: Builder, inputs: list[str]) -> list[str]:
    """Convolution, in one to three directions, channels first."""
    given = builder.node.attributes
    given.fixed("layout", "NCW", "NCHW", "NCDHW")
    kernel = given.integers("kernel", None)
    pads = pair(given.integers("pad"), 0, kernel)
    out = builder.add(
        "Conv",
        *inputs[: 2 if given.flag("no_bias", False) else 3],
        kernel_shape=kernel,
        strides=pair(given.integers("stride"), 1, kernel),
        dilations=pair(given.integers("dilate"), 1, kernel),
        pads=pads * 2,
        group=given.integer("num_group", 1),
    )
    return [out]


def deconvolution(builder: Builder, inputs: list[str]) -> list[str]:
    """Transposed convolution, without bias unless told."""
    given = builder.node.attributes
    given.fixed("layout", "NCW", "NCHW", "NCDHW")
    given.fixed("target_shape", "()", "[]", "(0,)", "(0, 0)", "(0,0)", "(0, 0, 0)")
    kernel = given.integers("kernel", None)
    out = builder.add(
        "ConvTranspose",
        *inputs[: 2 if given.flag("no_bias", True) else 3],
        kernel_shape=kernel,
        strides=pair(given.integers("stride"), 1, kernel),
        dilations=pair(given.integers("dilate"), 1, kernel),
        output_padding=pair(given.integers("adj"), 0, kernel),
        pads=pair(given.integers("pad"), 0, kernel) * 2,
        group=given.integer("num_group", 1),
    )
    return [out]


def fully_connected(builder: Builder, inputs: list[str]) -> list[str]:
    """Rows times weights, whose shape is (outputs, inputs)."""
    given = builder.node.attributes
    bias = [] if given.flag("no_bias", False) else [inputs[2]]
    if given.flag("flatten", True):
        rows = builder.add("Flatten", inputs[0], axis=1)
        return [builder.ranked(builder.add("Gemm", rows, inputs[1], *bias, transB=1), 2)]
    turned = builder.add("Transpose", inputs[1], perm=(1, 0))
    out = builder.add("MatMul", inputs[0], turned)
    return [builder.add("Add", out, *bias) if bias else out]


def batch_norm(builder: Builder, inputs: list[str]) -> list[str]:
    """Normalization by the statistics of training. `fix_gamma` is on unless it is turned off, and
    then gamma is 1 whatever the file says."""
    given = builder.node.attributes
    data, gamma, beta, mean, variance = inputs
    if given.flag("fix_gamma", True):
        gamma = builder.constant(np.ones(builder.shape_of(gamma), np.float32))
    epsilon = given.number("eps", 1e-3)
    axis = given.integer("axis", 1)
    if axis == 1 or builder.axis(data, axis) == 1:
        parameters = (data, gamma, beta, mean, variance)
        return [builder.add("BatchNormalization", *parameters, epsilon=epsilon)]
    if builder.axis(data, axis) != builder.rank(data) - 1:
        raise ConversionError(f"{builder.node}: only the axes 1 and -1 are known, not {axis}")
    spread = builder.add("Sqrt", builder.add("Add", variance, builder.scalar(epsilon)))
    scaled = builder.add("Div", builder.add("Sub", data, mean), spread)
    return [builder.add("Add", builder.add("Mul", scaled, gamma), beta)]


def instance_norm(builder: Builder, inputs: list[str]) -> list[str]:
    """Normalization of each row's channels by themselves."""
    epsilon = builder.node.attributes.number("eps", 1e-3)
    return [builder.add("InstanceNormalization", *inputs, epsilon=epsilon)]


def layer_norm(builder: Builder, inputs: list[str]) -> list[str]:
    """Normalization along the last axis."""
    builder.node.attributes.fixed("axis", "-1")
    epsilon = builder.node.attributes.number("eps", 1e-5)
    return [builder.add("LayerNormalization", *inputs, axis=-1, epsilon=epsilon)]


def l2_normalization(builder: Builder, inputs: list[str]) -> list[str]:
    """Division by the length: of all behind the rows, or of the channels."""
    given = builder.node.attributes
    first = 1
    modes = {"instance": "all", "channel": "channel", "spatial": "spatial"}
    mode = given.choice("mode", "instance", modes)
    rank = builder.rank(inputs[0])
    axes = {"all": range(first, rank), "channel": [1], "spatial": range(2, rank)}[mode]
    squares = builder.add("Mul", inputs[0], inputs[0])
    total = builder.add("ReduceSum", squares, builder.integers(*axes), keepdims=1)
    padded = builder.add("Add", total, builder.scalar(given.number("eps", 1e-10)))
    return [builder.add("Div", inputs[0], builder.add("Sqrt", padded))]


def local_response(builder: Builder, inputs: list[str]) -> list[str]:
    """Normalization across neighbouring channels (AlexNet's)."""
    given = builder.node.attributes
    out = builder.add(
        "LRN",
        inputs[0],
        alpha=given.number("alpha", 1e-4),
        beta=given.number("beta", 0.75),
        bias=given.number("knorm", 2.0),
        size=given.integer("nsize"),
    )
    return [out]


def activation(builder: Builder, inputs: list[str]) -> list[str]:
    """The plain ones, by `act_type`."""
    op = builder.node.attributes.choice("act_type", "", _ACTIVATIONS)
    return [builder.add(op, inputs[0])]


def leaky_relu(builder: Builder, inputs: list[str]) -> list[str]:
    """Its relatives too. `rrelu`, random in training, has the mean of its bounds as its slope."""
    given = builder.node.attributes
    data, slope = inputs[0], given.number("slope", 0.25)
    kind = given.text("act_type", "leaky")
    if kind == "leaky":
        out = builder.add("LeakyRelu", data, alpha=slope)
    elif kind == "prelu":
        out = builder.add("PRelu", data, builder.per_channel(inputs[1], data))
    elif kind == "elu":
        out = builder.add("Elu", data, alpha=slope)
    elif kind == "selu":
        out = builder.add("Selu", data, alpha=_SELU_ALPHA, gamma=_SELU_GAMMA)
    elif kind == "gelu":
        out = _gelu(builder, data)
    elif kind == "rrelu":
        bounds = given.number("lower_bound", 0.125) + given.number("upper_bound", 0.334)
        out = builder.add("LeakyRelu", data, alpha=bounds / 2)
    else:
        raise ConversionError(f"{builder.node}: act_type {kind!r} is not known")
    return [out]


def _gelu(builder: Builder, data: str) -> str:
    """x/2 (1 + erf(x / sqrt 2)), which is exact."""
    inner = builder.add("Erf", builder.add("Mul", data, builder.scalar(0.5**0.5)))
    half = builder.add("Mul", data, builder.scalar(0.5))
    return builder.add("Mul", half, builder.add("Add", inner, builder.scalar(1.0)))


def pooling(builder: Builder, inputs: list[str]) -> list[str]:
    """Maxima or means of windows, or of everything."""
    given = builder.node.attributes
    given.fixed("layout", "NCW", "NCHW", "NCDHW")
    kind = given.choice("pool_type", "max", {"max": "MaxPool", "avg": "AveragePool"})
    if given.flag("global_pool", False):
        return [builder.add(f"Global{kind}", inputs[0])]
    kernel = given.integers("kernel", None)
    pads = pair(given.integers("pad"), 0, kernel)
    strides = pair(given.integers("stride"), 1, kernel)
    # MXNet 1.9.1 fails at the third convention, "same".
    ceil = given.choice("pooling_convention", "valid", {"valid": "", "full": "ceil"}) == "ceil"
    window = {"kernel_shape": kernel, "strides": strides}
    if kind == "MaxPool":
        return [builder.add(kind, inputs[0], pads=pads * 2, ceil_mode=int(ceil), **window)]
    padded = given.flag("count_include_pad", True)
    if not ceil:
        count = {"count_include_pad": int(padded)}
        return [builder.add(kind, inputs[0], pads=pads * 2, **count, **window)]
    # Padding counts where it is included, and what lies beyond it never does: so, if it counts, it
    # has to be there before.
    data = inputs[0]
    if any(pads) and padded:
        widths = builder.integers(*[0, 0, *pads] * 2)
        data = builder.add("Pad", data, widths, builder.scalar(0.0))
        pads = [0] * len(pads)
    return [builder.add(kind, data, pads=pads * 2, ceil_mode=1, **window)]


def softmax(builder: Builder, inputs: list[str]) -> list[str]:
    """Along one axis."""
    return _softmax(builder, inputs, "Softmax")


def log_softmax(builder: Builder, inputs: list[str]) -> list[str]:
    """Its logarithm."""
    return _softmax(builder, inputs, "LogSoftmax")


def softmax_output(builder: Builder, inputs: list[str]) -> list[str]:
    """What training ends with. The label is for training, and left out."""
    given = builder.node.attributes
    if given.flag("multi_output", False):
        return [builder.add("Softmax", inputs[0], axis=1)]
    if given.flag("preserve_shape", False):
        return [builder.add("Softmax", inputs[0], axis=-1)]
    return [_row_softmax(builder, inputs[0])]


def softmax_activation(builder: Builder, inputs: list[str]) -> list[str]:
    """Of each row, or of its channels."""
    modes = {"instance": "row", "channel": "channel"}
    if builder.node.attributes.choice("mode", "instance", modes) == "channel":
        return [builder.add("Softmax", inputs[0], axis=1)]
    return [_row_softmax(builder, inputs[0])]


def upsampling(builder: Builder, inputs: list[str]) -> list[str]:
    """Each pixel several times."""
    given = builder.node.attributes
    given.fixed("sample_type", "nearest")
    given.fixed("num_args", "1")
    scale = float(given.integer("scale"))
    scales = builder.constant(np.array([1, 1, scale, scale], np.float32))
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}
    return [builder.add("Resize", inputs[0], "", scales, nearest_mode="floor", **how)]


def adaptive_average(builder: Builder, inputs: list[str]) -> list[str]:
    """To one pixel, which is the mean of all."""
    builder.node.attributes.fixed("output_size", "1", "(1,)", "(1, 1)", "()", "[]")
    return [builder.add("GlobalAveragePool", inputs[0])]


def first(builder: Builder, inputs: list[str]) -> list[str]:
    """Nothing happens to it when predicting."""
    return [builder.add("Identity", inputs[0])]


def logistic_output(builder: Builder, inputs: list[str]) -> list[str]:
    """The label is for training, and left out."""
    return [builder.add("Sigmoid", inputs[0])]


def embedding(builder: Builder, inputs: list[str]) -> list[str]:
    """Rows of a table by their numbers, which come as floats."""
    numbers = builder.add("Cast", inputs[0], to=7)
    rank = builder.ranks.get(inputs[0])
    out = builder.add("Gather", inputs[1], numbers, axis=0)
    return [builder.ranked(out, None if rank is None else rank + 1)]


def _softmax(builder: Builder, inputs: list[str], op: str) -> list[str]:
    given = builder.node.attributes
    given.fixed("use_length", "False", "0")
    data = inputs[0]
    if (temperature := given.number("temperature", 1.0)) != 1.0:
        data = builder.add("Div", data, builder.scalar(temperature))
    return [builder.add(op, data, axis=given.integer("axis", -1))]


def _row_softmax(builder: Builder, data: str) -> str:
    """Over everything behind the rows."""
    if builder.rank(data) == 2:
        return builder.add("Softmax", data, axis=1)
    flat = builder.add("Softmax", builder.add("Flatten", data, axis=1), axis=1)
    return builder.add("Reshape", flat, builder.add("Shape", data))


OPERATORS: dict[str, Operator] = {
    "Convolution": convolution,
    "Convolution_v1": convolution,
    "Deconvolution": deconvolution,
    "FullyConnected": fully_connected,
    "BatchNorm": batch_norm,
    "BatchNorm_v1": batch_norm,
    "CuDNNBatchNorm": batch_norm,
    "InstanceNorm": instance_norm,
    "LayerNorm": layer_norm,
    "L2Normalization": l2_normalization,
    "LRN": local_response,
    "Activation": activation,
    "LeakyReLU": leaky_relu,
    "Pooling": pooling,
    "Pooling_v1": pooling,
    "_contrib_AdaptiveAvgPooling2D": adaptive_average,
    "UpSampling": upsampling,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "SoftmaxOutput": softmax_output,
    "Softmax": softmax_output,
    "SoftmaxActivation": softmax_activation,
    "LinearRegressionOutput": first,
    "MAERegressionOutput": first,
    "SVMOutput": first,
    "LogisticRegressionOutput": logistic_output,
    "Embedding": embedding,
    "Dropout": first,
    "identity": first,
    "_copy": first,
    "BlockGrad": first,
    "stop_gradient": first,
    "MakeLoss": first,
    "make_loss": first,
}
