"""MXNet's checkpoints on onnxruntime: pictures and arrays in; labels, or arrays, out."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from mxnet_onnx.network import Network

# For the zygote, not for each worker at its first picture.
from PIL import ImageOps, JpegImagePlugin, PngImagePlugin  # noqa: F401

from modelplex.toolkit import content_types, images, tensors
from modelplex.toolkit.default_handler_service import DefaultHandlerService
from modelplex.toolkit.default_inference_handler import DefaultInferenceHandler
from modelplex.toolkit.transformer import Transformer

TOP = 5  # labels of a picture
_LABELS = ([content_types.JSON], [content_types.ANY])  # what is wanted first, for labels
_READS = f"{tensors.READS}, JPEG, PNG"


class Picture(np.ndarray[Any, Any]):
    """A picture as the network takes it: it is answered with labels, where the model has them."""


class Scores(np.ndarray[Any, Any]):
    """What the network says to a picture: a row of a number for each label."""


class MxnetHandler(DefaultInferenceHandler):
    """What is done where the model's own `code/inference.py` has no function for it.

    Names of files and content types as in SageMaker's MXNet container, with pictures besides.
    """

    def __init__(self) -> None:
        self._network: Network | None = None  # None also where `model_fn` is the model's own
        self._preprocess: images.Preprocess | None = None

    def default_model_fn(self, model_dir: str, context: Any = None) -> Network:
        """The checkpoint, ready. Raises ConversionError, MemoryError and ValueError."""
        network = Network(model_dir)
        default = network.preprocess()
        self._network = network
        self._preprocess = images.read(model_dir, default) if default else None
        return network

    def default_input_fn(self, input_data: Any, content_type: str, context: Any = None) -> Any:
        """An array, or a dict of them by name for a network of several inputs. As the body has
        them where `model_fn` is the model's own."""
        if self._preprocess is not None and images.is_image(content_type):
            return images.decode(input_data, self._preprocess).view(Picture)
        known = _READS if self._preprocess else tensors.READS
        if self._network is None:
            return tensors.decode(input_data, content_type, known=known)
        given = tensors.decode(input_data, content_type, self._network.inputs, known)
        flat = content_types.media_type(content_type) == content_types.CSV
        feeds = self._network.feeds(given, flat)
        return feeds if len(feeds) > 1 else next(iter(feeds.values()))

    def default_predict_fn(self, data: Any, model: Any, context: Any = None) -> Any:
        """The network's output, or a dict of them by name."""
        if not isinstance(model, Network):
            raise NotImplementedError("A model with a model_fn needs a predict_fn beside it.")
        found = model.run(data)
        if isinstance(data, Picture) and model.labels and getattr(found, "ndim", 0) == 2:
            return found.view(Scores)
        return found

    def default_output_fn(self, prediction: Any, accept: str, context: Any = None) -> Any:
        """Labels as JSON, unless arrays are wanted; else JSON, JSON lines, CSV, NPY or NPZ."""
        wanted = content_types.accepted(accept)[:1]
        if isinstance(prediction, Scores) and self._network and wanted in _LABELS:
            return json.dumps(describe(prediction[0], self._network)), content_types.JSON
        return tensors.encode(prediction, accept)


def describe(scores: Any, network: Network) -> list[str]:
    """The likeliest labels, likeliest first, in the words of the notebook's handler."""
    if not network.gives_probabilities:
        powers = np.exp(scores - scores.max())
        scores = powers / powers.sum()
    best = np.argsort(-scores, kind="stable")[:TOP]
    return [f"probability={scores[one]:f}, class={_label(network.labels, one)}" for one in best]


def _label(labels: list[str], number: int) -> str:
    return labels[number] if number < len(labels) else str(number)


_service = DefaultHandlerService(Transformer(MxnetHandler()))


def handle(data: Any, context: Any) -> Any:
    """Without data: loads the model. With: answers."""
    if data is None:
        return _service.initialize(context)
    return _service.handle(data, context)
