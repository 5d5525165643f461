"""One checkpoint in a model's folder: its files, and what they say beside the weights.

NAME-symbol.json, NAME-0000.params    the network and its weights
NAME-shapes.json                      its inputs: [{"name": "data", "shape": [1, 3, 224, 224]}]
synset.txt                            a label per line, for classifiers
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mxnet_onnx.errors import ConversionError

_SYMBOL = "-symbol.json"
_DEFAULT = "model"  # what SageMaker's container calls it
_LABELS = "synset.txt"


@dataclass(frozen=True, slots=True)
class Artifact:
    """The files of one checkpoint; `signature` is empty where there is no `-shapes.json`."""

    symbol: Path
    params: Path
    signature: dict[str, tuple[int, ...]]

    @property
    def folder(self) -> Path:
        """Where they all are."""
        return self.symbol.parent


def find(model_dir: str) -> Artifact:
    """Raises ConversionError where there is no checkpoint, or more than one."""
    folder = Path(model_dir)
    symbols = sorted(folder.glob(f"*{_SYMBOL}"))
    chosen = [path for path in symbols if path.name == _DEFAULT + _SYMBOL] or symbols
    if len(chosen) != 1:
        found = ", ".join(path.name for path in symbols) or "none"
        raise ConversionError(f"a model has one file NAME{_SYMBOL} at its top; this one: {found}")
    name = chosen[0].name.removesuffix(_SYMBOL)
    return Artifact(chosen[0], _params(folder, name), _signature(folder / f"{name}-shapes.json"))


def labels(model_dir: str) -> list[str]:
    """The lines of `synset.txt`, or nothing without it."""
    try:
        text = (Path(model_dir) / _LABELS).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return [line.strip() for line in text.splitlines()]


def ends_in_softmax(found: Artifact) -> bool:
    """Whether the network answers with probabilities itself, as checkpoints of training do."""
    last = json.loads(found.symbol.read_bytes())["nodes"][-1]
    return str(last["op"]).lower().startswith("softmax")


def _params(folder: Path, name: str) -> Path:
    """Of epoch 0, which is what exports have, else of the last one."""
    pattern = re.compile(rf"{re.escape(name)}-(\d+)\.params")
    epochs = {
        int(match[1]): path for path in folder.iterdir() if (match := pattern.match(path.name))
    }
    if not epochs:
        raise ConversionError(f"{name}{_SYMBOL} has no weights beside it: {name}-0000.params")
    return epochs.get(0) or epochs[max(epochs)]


def _signature(path: Path) -> dict[str, tuple[int, ...]]:
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ConversionError(f"{path.name} is no JSON: {error}") from None
    try:
        return {str(each["name"]): _shape(each["shape"]) for each in document}
    except (TypeError, KeyError, ValueError):
        text = f'{path.name} must be like [{{"name": "data", "shape": [1, 3, 224, 224]}}]'
        raise ConversionError(text) from None


def _shape(lengths: Any) -> tuple[int, ...]:
    shape = tuple(int(length) for length in lengths)
    if not shape or any(length < 1 for length in shape):
        raise ValueError(lengths)
    return shape
