"""Boosters from files, by what is in them: JSON, UBJSON, old versions' binary form, pickle."""

from __future__ import annotations

import functools
import json
import os
import pickle
from dataclasses import dataclass
from typing import Any

import legacy
import xgboost

from modelplex.toolkit import model_files, trust
from modelplex.toolkit.model_files import unusable

NAMES = ("model.json", "model.ubj", "xgboost-model*", "*.json", "*.ubj")  # best first
_MORE = ("*.model", "*.bst", "*.xgb", "*.bin", "*.pkl", "*.pickle")
_ADVICE = (
    "save the booster with booster.save_model('model.json'), or give the model"
    " code/inference.py with a model_fn."
)
ENSEMBLE_ENV = "SAGEMAKER_INFERENCE_ENSEMBLE"  # "true" unless told; else the first file is taken


@dataclass(frozen=True)
class About:
    """What a booster says of itself. `classes` is 0 where it was not trained for several."""

    objective: str
    classes: int
    columns: int
    linear: bool  # a linear booster cannot predict in place
    rounds: int  # to predict with: up to the best one where training stopped early; 0: all


def load(folder: str) -> list[Any]:
    """The boosters of a model: one, or an ensemble (`xgboost-model-0` and so on).

    Raises UnusableModel; GenericInferenceToolkitError for a pickle where code is refused.
    """
    paths = model_files.find(folder, NAMES + _MORE, _ADVICE)
    several = os.path.basename(paths[0]).startswith("xgboost-model")
    if several and os.environ.get(ENSEMBLE_ENV, "true") != "true":
        paths = paths[:1]
    if not several:
        paths = [model_files.find_one(folder, NAMES + _MORE, _ADVICE)]
    return [read(path) for path in paths]


def read(path: str) -> Any:
    """The booster in a file. Raises as load does."""
    with open(path, "rb") as file:
        content = bytearray(file.read())
    try:
        if legacy.recognises(content):
            content = bytearray(legacy.to_json(bytes(content)))
        elif content.startswith(b"\x80"):
            return _unpickled(path, content)
        return _loaded(content)
    except (xgboost.core.XGBoostError, legacy.NotLegacy, UnicodeDecodeError) as error:
        raise unusable(path, first_line(error)) from error


@functools.lru_cache(maxsize=128)  # ensembles have many
def about(booster: Any) -> About:
    """Asked once for each booster."""
    learner = json.loads(booster.save_config())["learner"]
    linear = learner["gradient_booster"]["name"] == "gblinear"
    best = booster.attr("best_iteration")
    return About(
        objective=learner["objective"]["name"],
        classes=int(learner["learner_model_param"].get("num_class", 0)),
        columns=booster.num_features(),
        linear=linear,
        rounds=0 if best is None or linear else min(int(best) + 1, booster.num_boosted_rounds()),
    )


def first_line(error: BaseException) -> str:
    """What XGBoost says, without the place in its source and the stack of its calls."""
    line = str(error).strip().split("\n")[0]
    return line.split(": ", 1)[-1] if line.startswith("[") else line


def _loaded(content: bytearray) -> Any:
    # With more threads the process could not be forked for further workers of the model.
    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(content)
    booster.set_param("nthread", 1)  # not what the training machine had
    return booster


def _unpickled(path: str, content: bytearray) -> Any:
    trust.require(os.path.basename(path))
    try:
        found = pickle.loads(content)
    except ModuleNotFoundError as error:
        advice = f"add the package of {error.name} to the archive's code/requirements.txt"
        raise unusable(path, f"it needs {error.name}: {advice}, or save the booster") from error
    except Exception as error:  # a pickle can raise anything
        raise unusable(path, f"{type(error).__name__}: {first_line(error)}") from error
    booster = found.get_booster() if hasattr(found, "get_booster") else found
    if not isinstance(booster, xgboost.Booster):
        raise unusable(path, f"it holds a {type(found).__name__}, and no booster")
    booster.set_param("nthread", 1)
    return booster
