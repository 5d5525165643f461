"""How each of MXNet's operators is said in ONNX. Defaults are MXNet's 1.9.1.

A conversion takes the builder and the values that are the node's inputs, and returns the outputs'
values, of which the first has the rank of the first input unless the builder was told another.
"""

from __future__ import annotations

from mxnet_onnx import elementwise, layers, shaping
from mxnet_onnx.builder import Operator

OPERATORS: dict[str, Operator] = {**layers.OPERATORS, **shaping.OPERATORS, **elementwise.OPERATORS}
# Inputs that only training needs: what is behind them is left out of the model.
INPUTS_FOR_PREDICTION = dict.fromkeys(
    (
        "SoftmaxOutput",
        "Softmax",
        "LinearRegressionOutput",
        "LogisticRegressionOutput",
        "MAERegressionOutput",
        "SVMOutput",
    ),
    1,
)
