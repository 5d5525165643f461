"""Checkpoints to sessions of onnxruntime, and the conversion that is kept beside a checkpoint.

What is kept is the network as onnxruntime has optimized it, BatchNorm folded into convolutions and
weights in the order that this CPU wants, with the weights in a file of their own. Sessions map that
file into memory: nothing is copied, the kernel may drop the pages again, and processes of the same
artifact share them. Of ResNet-152 (a noisy machine, one thread) that takes 0.03 s and 13 MB beside
250 MB of mapped weights; optimizing at each load takes 1.2 s and 580 MB, with MXNet it is 1.3 s and
1,290 MB. It costs the weights' size once more on the disk.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # at build no image.toml has set it yet

import onnxruntime

from mxnet_onnx import artifact, convert, params, symbol
from mxnet_onnx.errors import ConversionError

FORMAT = 1  # to be raised with every change of what is converted
FOLDER = ".mxnet-onnx"  # in a model's folder
INLINE_BYTES_MAX = 4096  # weights up to this stay in the model's own file: not worth mapping
_NO_MEMORY = re.compile(r"failed to allocate|bad_alloc|out of memory", re.IGNORECASE)
_OPTIMIZE_ALL = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
_OPTIMIZE_NOTHING = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
_ERRORS_ONLY = 3  # log severity


def prepare(model_dir: str) -> None:
    """Keeps the conversion in the model's folder. Raises ConversionError and MemoryError."""
    found = artifact.find(model_dir)
    folder = found.folder / FOLDER
    folder.mkdir(exist_ok=True)
    draft, weights = folder / "draft.onnx", folder / f"{_key()}.weights"
    options = _options(_OPTIMIZE_ALL)
    options.optimized_model_filepath = str(draft)
    entry = "session.optimized_model_external_initializers"
    options.add_session_config_entry(f"{entry}_file_name", weights.name)
    options.add_session_config_entry(f"{entry}_min_size_in_bytes", str(INLINE_BYTES_MAX))
    _convert(found, options)
    draft.replace(_kept(found))  # so that what has this name is whole


def open_session(found: artifact.Artifact) -> onnxruntime.InferenceSession:
    """Of what `prepare` kept, if it was here; else of a conversion made now, in memory.

    Raises ConversionError and MemoryError.
    """
    path = _kept(found)
    if not path.exists():
        return _convert(found, _options(_OPTIMIZE_ALL))
    options = _options(_OPTIMIZE_NOTHING)
    # Weights that are packed anew would be copies, each in a process of its own.
    options.add_session_config_entry("session.disable_prepacking", "1")
    return _session(str(path), options)


def _convert(
    found: artifact.Artifact, options: onnxruntime.SessionOptions
) -> onnxruntime.InferenceSession:
    network = symbol.parse(found.symbol.read_bytes(), found.symbol.name)
    weights = params.Params(found.params)
    model = convert.convert(network, weights, found.signature)
    entry = "session.model_external_initializers_file_folder_path"
    options.add_session_config_entry(entry, str(found.folder))
    return _session(model, options)


def _options(level: Any) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or 1)
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # Threads that wait by spinning take the CPU from the models next door.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _session(
    model: str | bytes, options: onnxruntime.SessionOptions
) -> onnxruntime.InferenceSession:
    providers = ["CPUExecutionProvider"]
    try:
        return onnxruntime.InferenceSession(model, sess_options=options, providers=providers)
    except Exception as error:
        if lacks_memory(error):
            raise MemoryError(str(error)) from error
        raise ConversionError(f"onnxruntime refuses the network: {error}") from error


def lacks_memory(error: Exception) -> bool:
    """Whether onnxruntime says that an allocation failed."""
    return _NO_MEMORY.search(str(error)) is not None


def _kept(found: artifact.Artifact) -> Path:
    return found.folder / FOLDER / f"{_key()}.onnx"


def _key() -> str:
    """Names what a kept conversion depends on: another CPU wants other orders of weights."""
    parts = (str(FORMAT), onnxruntime.__version__, platform.machine(), _cpu_flags())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _cpu_flags() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line for line in file if line.startswith(("flags", "Features"))), "")
