"""Boosters from files: LightGBM's text before pickles, which run code."""

from __future__ import annotations

import os
import pickle
from typing import Any

import lightgbm

from modelplex.toolkit import model_files, trust
from modelplex.toolkit.model_files import unusable

NAMES = ("model.txt", "*.txt", "*.model", "*.lgb", "model.pkl", "*.pkl", "*.pickle")  # best first
_ADVICE = (
    "save the booster with booster.save_model('model.txt'), or give the model"
    " code/inference.py with a model_fn."
)


def load(folder: str) -> Any:
    """The booster in a model's folder.

    Raises UnusableModel; GenericInferenceToolkitError for a pickle where code is refused.
    """
    path = model_files.find_one(folder, NAMES, _ADVICE)
    with open(path, "rb") as file:
        content = file.read()
    if content.startswith(b"\x80"):
        return _unpickled(path, content)
    if not content.lstrip().startswith(b"tree"):
        raise unusable(path, "it is no text of LightGBM's, which begins with `tree`")
    try:
        return lightgbm.Booster(model_str=content.decode("utf-8"))
    except (lightgbm.basic.LightGBMError, UnicodeDecodeError) as error:
        raise unusable(path, str(error)) from error


def _unpickled(path: str, content: bytes) -> Any:
    trust.require(os.path.basename(path))
    try:
        found = pickle.loads(content)
    except ModuleNotFoundError as error:
        advice = f"add the package of {error.name} to the archive's code/requirements.txt"
        raise unusable(path, f"it needs {error.name}: {advice}, or save the booster") from error
    except Exception as error:  # a pickle can raise anything
        raise unusable(path, f"{type(error).__name__}: {error}") from error
    booster = getattr(found, "booster_", found)
    if not isinstance(booster, lightgbm.Booster):
        raise unusable(path, f"it holds a {type(found).__name__}, and no booster")
    return booster
