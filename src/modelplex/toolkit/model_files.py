"""Which of the files in a model's folder is the model."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence

from modelplex.toolkit.errors import UnusableModel


def find(folder: str, patterns: Sequence[str], advice: str) -> list[str]:
    """The files at the folder's top that the first fitting pattern finds, in order.

    Raises UnusableModel with `advice` where no pattern fits.
    """
    for pattern in patterns:
        found = sorted(glob.glob(os.path.join(glob.escape(folder), pattern)))
        if found:
            return found
    raise UnusableModel(f"The model has none of {', '.join(patterns)} at its top: {advice}")


def find_one(folder: str, patterns: Sequence[str], advice: str) -> str:
    """The same, where more than one is a mistake. Raises UnusableModel."""
    found = find(folder, patterns, advice)
    if len(found) > 1:
        several = ", ".join(os.path.basename(path) for path in found)
        raise UnusableModel(
            f"The model has {several} at its top: leave one, or give it code/inference.py with a"
            " model_fn."
        )
    return found[0]


def unusable(path: str, reason: str) -> UnusableModel:
    """The error for a file that cannot be loaded, in one line."""
    line = " ".join(reason.split()).rstrip(".")
    return UnusableModel(f"The model's {os.path.basename(path)} cannot be used: {line}.")
