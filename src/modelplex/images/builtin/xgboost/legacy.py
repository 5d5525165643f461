"""Boosters in the binary form that XGBoost wrote until 2.0 and no longer reads since 3.1.

SageMaker's containers up to 1.7 have made such files, under the name `xgboost-model`. The form is
that of XGBoost's own `Save` functions, little-endian, without padding:

    "binf"  learner parameters (136 bytes)  objective  booster's name  booster  attributes

where "binf" is left out by versions before 1.0, and texts have their length in front (8 bytes). It
is turned into the JSON that XGBoost reads.
"""

from __future__ import annotations

import json
import math
import re
import struct
from typing import Any

import numpy as np
import xgboost

_HEADERS = (b"binf", b"bs64")
_OBJECTIVE = re.compile(rb"[a-z]+:[a-z_:]+")
_LEARNER = struct.Struct("<fIiiiII108x")  # base score, features, classes, 2 flags, version
_TREES = struct.Struct("<iiiiqii128x")  # trees, trees grown at once, ...
_TREE = struct.Struct("<iiiiii124x")  # roots, nodes, deleted nodes, depth, features, leaf vector
_LINEAR = struct.Struct("<Ii128x")  # features, groups
_NODE = np.dtype("<i4, <i4, <i4, <u4, <f4")
_NODE.names = ("parent", "left", "right", "split", "value")
_STATISTICS = np.dtype("<f4, <f4, <f4, <i4")
_STATISTICS.names = ("gain", "hessian", "weight", "leaves")
_LOW_BITS = 0x7FFFFFFF  # of a split: the feature; the high bit says where missing values go
_SAVED = "SAVED_PARAM_"  # attributes that hold parameters of the training


class NotLegacy(ValueError):
    """Bytes that are no booster in the old form, or one of a kind that is not read here."""


def recognises(content: bytes | bytearray) -> bool:
    """Whether a file begins as the old form does, with or without its mark."""
    if content.startswith(_HEADERS):
        return True
    length = int.from_bytes(content[_LEARNER.size : _LEARNER.size + 8], "little")
    name = content[_LEARNER.size + 8 : _LEARNER.size + 8 + min(length, 100)]
    return _OBJECTIVE.fullmatch(name) is not None


def to_json(content: bytes) -> bytes:
    """The same booster as JSON. Raises NotLegacy."""
    if content.startswith(b"bs64"):
        raise NotLegacy(
            "it is base64 of the binary form: save it as JSON with the XGBoost it is of"
        )
    reader = _Reader(content, 4 if content.startswith(b"binf") else 0)
    try:
        learner = _learner(reader)
    except (struct.error, IndexError, UnicodeDecodeError, MemoryError) as error:
        raise NotLegacy(f"the file is cut off or damaged at byte {reader.at}: {error}") from error
    return json.dumps({"version": [1, 0, 0], "learner": learner}).encode()


class _Reader:
    """A place in the file. Its methods raise struct.error or IndexError at the end of it."""

    def __init__(self, content: bytes, at: int) -> None:
        self.content = content
        self.at = at

    def unpack(self, form: struct.Struct) -> tuple[Any, ...]:
        values = form.unpack_from(self.content, self.at)
        self.at += form.size
        return values

    def count(self) -> int:
        return int.from_bytes(self.take(8), "little")

    def take(self, size: int) -> bytes:
        if size > len(self.content) - self.at:
            raise IndexError(f"{size} bytes are missing")
        self.at += size
        return self.content[self.at - size : self.at]

    def text(self) -> str:
        return self.take(self.count()).decode("utf-8")

    def array(self, dtype: Any, count: int) -> Any:
        kind = np.dtype(dtype)
        return np.frombuffer(self.take(count * kind.itemsize), kind)


def _learner(reader: _Reader) -> dict[str, Any]:
    base_score, features, classes, attributes, _, major, _ = reader.unpack(_LEARNER)
    objective, name = reader.text(), reader.text()
    booster = _booster(reader, name)
    if major == 0:
        base_score = _as_prediction(base_score, objective)
    return {
        "attributes": _attributes(reader) if attributes else {},
        "feature_names": [],
        "feature_types": [],
        "gradient_booster": booster,
        "learner_model_param": {
            "base_score": repr(float(base_score)),
            "boost_from_average": "0",
            "num_class": str(classes),
            "num_feature": str(features),
            "num_target": "1",
        },
        "objective": _objective(objective, classes),
    }


def _as_prediction(margin: float, objective: str) -> float:
    """Before 1.0 the base score was kept as what the trees add to."""
    if objective in ("binary:logistic", "reg:logistic"):
        return 1.0 / (1.0 + math.exp(-margin))
    if objective in ("count:poisson", "reg:gamma", "reg:tweedie"):
        return math.exp(margin)
    return margin


def _objective(name: str, classes: int) -> dict[str, Any]:
    """The objective with its parameters' defaults, as XGBoost itself writes it."""
    name = {"reg:linear": "reg:squarederror"}.get(name, name)
    asked = {"objective": name, "num_feature": 1, **({"num_class": classes} if classes else {})}
    found: dict[str, Any] = json.loads(xgboost.Booster(asked).save_config())["learner"]["objective"]
    return found


def _attributes(reader: _Reader) -> dict[str, str]:
    pairs = {reader.text(): reader.text() for _ in range(reader.count())}
    return {name: value for name, value in pairs.items() if not name.startswith(_SAVED)}


def _booster(reader: _Reader, name: str) -> dict[str, Any]:
    if name == "gblinear":
        reader.unpack(_LINEAR)
        weights = reader.array("<f4", reader.count()).tolist()
        return {"name": name, "model": {"boosted_rounds": 0, "weights": weights}}
    if name not in ("gbtree", "dart"):
        raise NotLegacy(f"it is a booster of the kind {name!r}")
    trees = {"name": "gbtree", "model": _trees(reader)}
    if name == "gbtree":
        return trees
    drop = reader.array("<f4", reader.count()).tolist() if trees["model"]["trees"] else []
    return {"name": name, "gbtree": trees, "weight_drop": drop}


def _trees(reader: _Reader) -> Any:
    count, at_once, *_ = reader.unpack(_TREES)
    trees = [_tree(reader, number) for number in range(count)]
    info = reader.array("<i4", count).tolist() if count else []
    parameters = {"num_trees": str(count), "num_parallel_tree": str(max(1, at_once))}
    return {"gbtree_model_param": parameters, "trees": trees, "tree_info": info}


def _tree(reader: _Reader, number: int) -> dict[str, Any]:
    _, count, deleted, _, features, leaf_vector = reader.unpack(_TREE)
    nodes = reader.array(_NODE, count)
    statistics = reader.array(_STATISTICS, count)
    if leaf_vector > 1:
        raise NotLegacy("its trees have vectors as leaves")
    return {
        "id": number,
        "tree_param": {
            "num_nodes": str(count),
            "num_deleted": str(deleted),
            "num_feature": str(features),
            "size_leaf_vector": "1",
        },
        "parents": (nodes["parent"] & _LOW_BITS).tolist(),  # the high bit: is a left child
        "left_children": nodes["left"].tolist(),
        "right_children": nodes["right"].tolist(),
        "split_indices": (nodes["split"] & _LOW_BITS).tolist(),
        "default_left": (nodes["split"] >> 31).tolist(),
        "split_conditions": nodes["value"].tolist(),
        "split_type": [0] * count,
        "loss_changes": statistics["gain"].tolist(),
        "sum_hessian": statistics["hessian"].tolist(),
        "base_weights": statistics["weight"].tolist(),
        **{f"categories{part}": [] for part in ("", "_nodes", "_segments", "_sizes")},
    }
