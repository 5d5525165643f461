"""ONNX models on onnxruntime: arrays by name and pictures in, arrays out."""

from __future__ import annotations

from typing import Any

from onnx_network import Alone, Network, find, open_session

# For the zygote, not for each worker at its first picture.
from PIL import ImageOps, JpegImagePlugin, PngImagePlugin  # noqa: F401

from modelplex.toolkit import images, memory, tensors
from modelplex.toolkit.default_handler_service import DefaultHandlerService
from modelplex.toolkit.default_inference_handler import DefaultInferenceHandler
from modelplex.toolkit.transformer import Transformer

_READS = f"{tensors.READS}, JPEG, PNG"


class OnnxHandler(DefaultInferenceHandler):
    """What is done where the model's own `code/inference.py` has no function for it."""

    batches = True

    def __init__(self) -> None:
        self._network: Network | None = None  # None also where `model_fn` is the model's own
        self._preprocess: images.Preprocess | None = None

    def default_model_fn(self, model_dir: str, context: Any = None) -> Network:
        """The session of `model.onnx`, or of the only other `.onnx` file.

        Raises UnusableModel, MemoryError, and ValueError for a bad preprocess.json.
        """
        network = Network(open_session(find(model_dir)))
        memory.trim()
        default = network.preprocess()
        self._network = network
        self._preprocess = images.read(model_dir, default) if default else None
        return network

    def default_input_fn(self, input_data: Any, content_type: str, context: Any = None) -> Any:
        """What the model takes: an array, or a dict of them by name if it takes several.

        For a model that the archive's `model_fn` made, arrays as the body has them.
        """
        given = self._read(input_data, content_type)
        if self._network is None:
            return given
        feeds = self._network.feeds(given)
        return feeds if len(feeds) > 1 else next(iter(feeds.values()))

    def default_rows_fn(self, input_data: Any, content_type: str, context: Any = None) -> Any:
        """The same for predictions together with other requests, if the model allows that."""
        given = self._read(input_data, content_type)
        if self._network is None:
            return Alone(given)
        feeds = self._network.feeds(given)
        return feeds if self._network.batches else Alone(feeds)

    def default_predict_fn(self, data: Any, model: Any, context: Any = None) -> Any:
        """The model's output, or a dict of them by name; `model_fn` may have made a session."""
        arrays = data.arrays if isinstance(data, Alone) else data
        if isinstance(model, Network):
            return model.run(arrays)
        network = Network(model)
        return network.run(network.feeds(arrays))

    def default_output_fn(self, prediction: Any, accept: str, context: Any = None) -> Any:
        """JSON, JSON lines, CSV, NPY or NPZ."""
        return tensors.encode(prediction, accept)

    def _read(self, body: Any, content_type: str) -> Any:
        if self._preprocess is not None and images.is_image(content_type):
            return images.decode(body, self._preprocess)
        names = [slot.name for slot in self._network.inputs] if self._network else ()
        known = _READS if self._preprocess else tensors.READS
        return tensors.decode(body, content_type, names, known)


_service = DefaultHandlerService(Transformer(OnnxHandler()))


def handle(data: Any, context: Any) -> Any:
    """Without data: loads the model. With: answers."""
    if data is None:
        return _service.initialize(context)
    return _service.handle(data, context)
