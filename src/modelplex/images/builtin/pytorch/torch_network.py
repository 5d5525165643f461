"""One PyTorch model: the file that it is read from, what it takes, and a run of it."""

from __future__ import annotations

import inspect
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import safetensors.torch
import torch

from modelplex.toolkit import errors, model_files, tensors, trust
from modelplex.toolkit.errors import MalformedInputError, UnusableModel

# Of several, the first that is there.
PATTERNS = (
    *("model.pt", "model.pth", "model.pt2", "model.safetensors"),
    *("*.pt", "*.pth", "*.jit", "*.pt2", "*.safetensors"),
)
_MESSAGE_CHARS = 500  # of what PyTorch says, in an answer


class Named(dict[str, Any]):
    """Tensors by the name of the argument that each of them is for."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What a module's `forward` takes, as far as it tells."""

    names: tuple[str, ...] = ()
    by_position: bool = False  # it does not take its arguments by name
    # Of an exported program: NumPy's names of types, and shapes with None for open dimensions.
    dtypes: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, tuple[int | None, ...]] = field(default_factory=dict)


def find(model_dir: str) -> Path:
    """The file with the model or its weights. Raises UnusableModel where there is none."""
    advice = "give it one, or code/inference.py with a model_fn."
    return Path(model_files.find_one(model_dir, PATTERNS, advice))


def load(path: Path, network_fn: Callable[[], torch.nn.Module] | None) -> torch.nn.Module:
    """The module in a file, ready to predict; `network_fn` makes the one that weights are for.

    Raises UnusableModel where weights come alone or do not fit, GenericInferenceToolkitError where
    the file would run code and that is refused, and PyTorch's own errors for broken files.
    """
    if path.suffix == ".pt2":
        trust.require(f"The exported program {path.name} (read with pickle)")
        return torch.export.load(path).module()
    if _is_script(path):
        return torch.jit.load(path, map_location="cpu").eval()
    if network_fn is not None:
        return _with_weights(network_fn(), path)
    return _pickled(path).eval()


def signature(module: Any) -> Signature:
    """What a module takes; nothing is known of what is no module."""
    if isinstance(module, torch.fx.GraphModule):
        return _exported_signature(module)
    schema = getattr(getattr(module, "forward", None), "schema", None)
    if schema is not None:
        return Signature(tuple(each.name for each in schema.arguments[1:]))
    if not isinstance(module, torch.nn.Module):
        return Signature()
    parameters = inspect.signature(module.forward).parameters.values()
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return Signature()
    return Signature(
        tuple(each.name for each in parameters if each.kind is not each.VAR_POSITIONAL)
    )


def to_tensors(given: Any, wanted: Signature, numbers: bool) -> Any:
    """An array, or a dict of them by name, as tensors; of the types that are wanted if known.

    `numbers`: they come from a text (JSON, CSV), where 1 may stand for 1.0. Then an array alone is
    float32, as in SageMaker's container; by name, what is written without fractions stays integer.
    Raises MalformedInputError.
    """
    expected = ", ".join(wanted.names)
    if not isinstance(given, dict):
        if wanted.by_position and len(wanted.names) != 1:
            text = f"The model takes {len(wanted.names)} inputs by name: {expected}."
            raise MalformedInputError(text)
        name = wanted.names[0] if len(wanted.dtypes) == 1 else ""
        dtype = wanted.dtypes.get(name) or ("float32" if numbers else "")
        return _tensor(given, dtype, "The model")
    unknown = wanted.names and set(given) - set(wanted.names)
    if unknown or (wanted.by_position and len(given) < len(wanted.names)):
        had = ", ".join(given)
        raise MalformedInputError(f"The model's inputs are {expected}, and the body has {had}.")
    result = Named()
    for name, array in given.items():
        single = "float32" if numbers and array.dtype.kind == "f" else ""
        result[name] = _tensor(array, wanted.dtypes.get(name) or single, f"The input {name!r}")
    return result


def run(module: Any, data: Any, wanted: Signature) -> Any:
    """What the module makes of a tensor, of Named ones, or of what an own input_fn gives.

    Raises MalformedInputError where it cannot work on it.
    """
    if not wanted.by_position and getattr(module, "training", False):
        module.eval()  # a model_fn may have left it out, as SageMaker's container allows
    try:
        with torch.inference_mode():
            if not isinstance(data, Named):
                return module(_in_precision(data, module))
            if wanted.by_position:
                return module(*(data[name] for name in wanted.names))
            return module(**{name: _in_precision(each, module) for name, each in data.items()})
    except (RuntimeError, IndexError, ValueError, AssertionError) as error:
        if errors.lacks_memory(error):
            raise
        said = str(error).strip().splitlines() or [type(error).__name__]
        text = f"The model cannot work on this input: {said[-1]:.{_MESSAGE_CHARS}}"
        raise MalformedInputError(text) from error


def _is_script(path: Path) -> bool:
    """Whether a file is TorchScript: weights and pickled modules are zip files too."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _weights(path: Path) -> Any:
    """Raises UnpicklingError for a file that is more than weights."""
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))


def _with_weights(module: torch.nn.Module, path: Path) -> torch.nn.Module:
    try:
        weights = _weights(path)
        # As nn.DataParallel names them.
        torch.nn.modules.utils.consume_prefix_in_state_dict_if_present(weights, "module.")
        module.load_state_dict(weights)
    except (UnpicklingError, RuntimeError, AttributeError, TypeError) as error:
        if errors.lacks_memory(error):
            raise
        raise UnusableModel(f"{path.name} does not fit what network_fn made: {error}") from error
    return module.eval()


def _pickled(path: Path) -> torch.nn.Module:
    """A whole module, whose classes the model's code has."""
    try:
        _weights(path)
    except UnpicklingError:
        trust.require(f"The pickled module {path.name}")
        module = _unpickled(path)
        if isinstance(module, torch.nn.Module):
            return module
    raise UnusableModel(
        f"{path.name} holds weights and no network: give the model a code/inference.py with"
        " network_fn(), which makes the module that they are for, or with model_fn(model_dir)."
    )


def _unpickled(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except (AttributeError, ImportError) as error:
        raise UnusableModel(
            f"{path.name} is a pickled module, whose classes the model's code/ has not: {error}"
        ) from error


def _exported_signature(module: torch.fx.GraphModule) -> Signature:
    found: dict[str, Any] = {}
    for node in module.graph.nodes:
        if node.op == "placeholder":
            found[node.target] = node.meta.get("val")
    known = {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}
    return Signature(
        tuple(found),
        by_position=True,
        dtypes={name: str(each.dtype).removeprefix("torch.") for name, each in known.items()},
        shapes={
            name: tuple(side if isinstance(side, int) else None for side in each.shape)
            for name, each in known.items()
        },
    )


def _tensor(array: Any, dtype: str, what: str) -> torch.Tensor:
    if dtype == "bfloat16":  # which NumPy has not
        return _tensor(array, "float32", what).to(torch.bfloat16)
    if dtype:
        array = tensors.cast(array, dtype, what)
    try:
        return torch.from_numpy(array)
    except TypeError as error:
        raise MalformedInputError(f"{what} takes numbers: {error}") from error


def _in_precision(data: Any, module: Any) -> Any:
    """Fractions in the precision of the module's weights, or else two of them would meet."""
    if not isinstance(data, torch.Tensor) or not data.is_floating_point():
        return data
    if not isinstance(module, torch.nn.Module):
        return data
    weights = (each.dtype for each in module.parameters() if each.is_floating_point())
    return data.to(next(weights, data.dtype))
