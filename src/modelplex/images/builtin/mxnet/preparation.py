"""What is done once for each artifact, right after it was fetched."""

from __future__ import annotations

from mxnet_onnx import sessions


def prepare(model_dir: str) -> None:
    """Converts the checkpoint, so that each load of it takes milliseconds."""
    sessions.prepare(model_dir)
