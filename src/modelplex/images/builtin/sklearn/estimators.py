"""Estimators from files: skops, which runs no code, before joblib and pickle, which do."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import warnings
from typing import Any

import joblib
import sklearn
import skops.io
from sklearn.exceptions import InconsistentVersionWarning

from modelplex.toolkit import model_files, trust
from modelplex.toolkit.errors import BaseInferenceToolkitError
from modelplex.toolkit.model_files import unusable

NAMES = ("*.skops", "model.joblib", "*.joblib", "model.pkl", "*.pkl", "*.pickle")  # best first
_ADVICE = (
    "save the estimator with skops.io.dump(model, 'model.skops'), or give the model"
    " code/inference.py with a model_fn."
)
_MADE_WITH = re.compile(rb"_sklearn_version.{1,8}?(\d+\.\d+[\w.]*)", re.DOTALL)
_HEAD_BYTES = 64 * 1024 * 1024  # of a pickle, that are searched for the version it was made with


def load(folder: str) -> Any:
    """The estimator in a model's folder. Raises UnusableModel; GenericInferenceToolkitError for
    code where it is refused."""
    path = model_files.find_one(folder, NAMES, _ADVICE)
    model = _skops(path) if path.endswith(".skops") else _unpickled(path)
    if not hasattr(model, "fit"):
        kind = type(model).__name__
        raise unusable(path, f"it holds a {kind}, and no estimator: give the model a model_fn")
    return _single_threaded(model)


def _skops(path: str) -> Any:
    """Types beyond those that skops trusts (scikit-learn's, NumPy's, SciPy's) are model code."""
    name = os.path.basename(path)
    try:
        beyond = skops.io.get_untrusted_types(file=path)
        if beyond:
            trust.require(f"{name}, which has {', '.join(beyond)},")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = skops.io.load(path, trusted=beyond)
    except (BaseInferenceToolkitError, MemoryError):
        raise
    except Exception as error:  # a file of anybody's: zipfile, JSON, imports, constructors
        raise unusable(path, f"{type(error).__name__}: {error}") from error
    _tell(name, caught)
    return model


def _unpickled(path: str) -> Any:
    name = os.path.basename(path)
    trust.require(name)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = joblib.load(path)  # plain pickles too
    except MemoryError:
        raise
    except Exception as error:  # a pickle can raise anything
        raise unusable(path, f"{type(error).__name__}: {error}{_advice(path, error)}") from error
    _tell(name, caught)
    return model


def _tell(name: str, caught: list[warnings.WarningMessage]) -> None:
    """Into the model's log: what was said while it was loaded; once, of different versions."""
    for entry in caught:
        told = entry.message
        if not isinstance(told, InconsistentVersionWarning):
            print(f"{name}: {told}")
    versions = {
        str(entry.message.original_sklearn_version)
        for entry in caught
        if isinstance(entry.message, InconsistentVersionWarning)
    }
    for version in sorted(versions):
        print(f"warning: {_versions(name, version)} Its predictions may be wrong.")


def _advice(path: str, error: Exception) -> str:
    package = str(error.name).partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if package not in ("", "sklearn"):
        return f". Name the package of {package} in the archive's code/requirements.txt."
    try:
        with open(path, "rb") as file:
            found = _MADE_WITH.search(file.read(_HEAD_BYTES))
    except OSError:
        found = None
    version = found[1].decode("ascii") if found else ""
    if not version or version == sklearn.__version__:
        return "" if not isinstance(error, pickle.UnpicklingError) else ". Is it a pickle?"
    return f". {_versions(os.path.basename(path), version)}"


def _versions(name: str, version: str) -> str:
    return (
        f"{name} was made with scikit-learn {version}, and this image has {sklearn.__version__}:"
        f" make it again with that, or put scikit-learn=={version} into code/requirements.txt."
    )


def _single_threaded(model: Any) -> Any:
    """A forest trained with n_jobs=-1 would start a pool of threads for each request."""
    with contextlib.suppress(Exception):  # classes of the user's need not have parameters at all
        parallel = [name for name in model.get_params() if name.split("__")[-1] == "n_jobs"]
        model.set_params(**dict.fromkeys(parallel, 1))
    return model
