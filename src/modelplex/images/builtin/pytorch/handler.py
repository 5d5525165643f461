"""PyTorch models: arrays and pictures in, arrays out."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy
import torch
import torch_network

# For the zygote, not for each worker at its first picture.
from PIL import ImageOps, JpegImagePlugin, PngImagePlugin  # noqa: F401
from torch_network import Named, Signature

from modelplex.toolkit import content_types, images, memory, tensors
from modelplex.toolkit.default_handler_service import DefaultHandlerService
from modelplex.toolkit.default_inference_handler import DefaultInferenceHandler
from modelplex.toolkit.environment import Environment
from modelplex.toolkit.transformer import Transformer

# "true": the first dimension of every model's inputs and outputs are rows that know nothing of each
# other. Only the owner can say so: a sequence, or a model traced for one picture, looks the same.
BATCH_FIRST_ENV = "MODELPLEX_BATCH_FIRST"
_SIZE = (224, 224)  # of pictures, where neither the model nor its preprocess.json says
_TEXTS = {content_types.JSON, content_types.CSV, content_types.JSON_LINES}


class PyTorchHandler(DefaultInferenceHandler):
    """What is done where the model's own `code/inference.py` has no function for it."""

    batches = os.environ.get(BATCH_FIRST_ENV, "").strip().lower() == "true"

    def __init__(self) -> None:
        self._signature = Signature()  # of the model that `default_model_fn` has loaded
        self._preprocess = images.Preprocess(_SIZE)

    def default_model_fn(self, model_dir: str, context: Any = None) -> torch.nn.Module:
        """The module in the model's file; weights go into what the archive's `network_fn` makes.

        Raises UnusableModel, GenericInferenceToolkitError, ValueError for a bad preprocess.json,
        and what PyTorch raises at broken files.
        """
        code = sys.modules.get(os.path.basename(Environment().module_name))
        network_fn = getattr(code, "network_fn", None)
        model = torch_network.load(torch_network.find(model_dir), network_fn)
        memory.trim()
        self._signature = torch_network.signature(model)
        self._preprocess = images.read(model_dir, _preprocess(self._signature))
        return model

    def default_input_fn(self, input_data: Any, content_type: str, context: Any = None) -> Any:
        """A tensor, or several by name."""
        given = self._read(input_data, content_type)
        texts = content_types.media_type(content_type) in _TEXTS
        return torch_network.to_tensors(given, self._signature, texts)

    def default_rows_fn(self, input_data: Any, content_type: str, context: Any = None) -> Any:
        """The same as arrays, whose rows can be put together with those of other requests."""
        given = self.default_input_fn(input_data, content_type, context)
        parts = given if isinstance(given, Named) else {"": given}
        if any(each.dtype == torch.bfloat16 for each in parts.values()):  # which NumPy has not
            return given
        arrays = {name: each.numpy() for name, each in parts.items()}
        return arrays if isinstance(given, Named) else arrays[""]

    def default_predict_fn(self, data: Any, model: Any, context: Any = None) -> Any:
        """What the model gives for a tensor, or for tensors by name."""
        if isinstance(data, numpy.ndarray):
            data = torch.from_numpy(data)
        elif self.batches and type(data) is dict:
            data = Named({name: torch.from_numpy(each) for name, each in data.items()})
        return torch_network.run(model, data, self._signature)

    def default_output_fn(self, prediction: Any, accept: str, context: Any = None) -> Any:
        """JSON, JSON lines, CSV, NPY or NPZ."""
        return tensors.encode(_to_arrays(prediction), accept)

    def _read(self, body: Any, content_type: str) -> Any:
        if images.is_image(content_type):
            return images.decode(body, self._preprocess)
        known = f"{tensors.READS}, JPEG, PNG"
        return tensors.decode(body, content_type, self._signature.names, known)


def _preprocess(signature: Signature) -> images.Preprocess:
    """For pictures in the size that an exported program takes."""
    shape: tuple[int | None, ...] = next(iter(signature.shapes.values()), ())
    height, width = (shape[2], shape[3]) if len(shape) == 4 else _SIZE
    return images.Preprocess((height or _SIZE[0], width or _SIZE[1]))


def _to_arrays(prediction: Any) -> Any:
    """A tensor as an array, several as a dict of arrays; other values as they are."""
    if isinstance(prediction, torch.Tensor):
        plain = prediction.detach().cpu()
        return (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
    if isinstance(prediction, dict):
        return {str(name): _to_arrays(each) for name, each in prediction.items()}
    if isinstance(prediction, (list, tuple)) and any(
        isinstance(each, torch.Tensor) for each in prediction
    ):
        names = getattr(prediction, "_fields", None) or [
            f"output_{at}" for at in range(len(prediction))
        ]
        return {name: _to_arrays(each) for name, each in zip(names, prediction, strict=True)}
    return prediction


_service = DefaultHandlerService(Transformer(PyTorchHandler()))


def handle(data: Any, context: Any) -> Any:
    """Without data: loads the model. With: answers."""
    if data is None:
        return _service.initialize(context)
    return _service.handle(data, context)
