"""What a pool must know of a model to load it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model in `folder`, which is its worker's working directory.

    `handler` (`module.py:function`, `module.py:Class`, `module.py` or a module's name) wins over
    the one in the model's manifest, and that one over the image's. `limit_bytes` is what the load
    may allocate beyond the zygote's memory (0: no limit). `decode` hands JSON bodies to the handler
    as objects and `text/*` as str, as Multi Model Server's `decode_input_request` does. `twins` is
    for a template whose workers will be models of other names.
    """

    name: str
    folder: Path
    handler: str = ""
    limit_bytes: int = 0
    gpu_id: int | None = None
    batch_size: int = 1
    decode: bool = False
    twins: bool = False
