"""Which file of an archive is the model."""

from __future__ import annotations

import pytest

from modelplex.toolkit import model_files
from modelplex.toolkit.errors import UnusableModel

PATTERNS = ("model.json", "*.json", "xgboost-model*")


def test_the_first_pattern_that_fits_wins(tmp_path):
    """Files below the top do not count."""
    for name in ("b.json", "a.json", "xgboost-model"):
        (tmp_path / name).touch()
    assert model_files.find(str(tmp_path), PATTERNS, "") == [
        str(tmp_path / name) for name in ("a.json", "b.json")
    ]
    (tmp_path / "model.json").touch()
    assert model_files.find_one(str(tmp_path), PATTERNS, "") == str(tmp_path / "model.json")


def test_none_and_several_are_explained(tmp_path):
    """With what there should be, or what there is."""
    with pytest.raises(UnusableModel, match=r"none of model\.json, .* at its top: save it"):
        model_files.find(str(tmp_path), PATTERNS, "save it")
    for name in ("b.json", "a.json"):
        (tmp_path / name).touch()
    with pytest.raises(UnusableModel, match=r"has a\.json, b\.json at its top: leave one"):
        model_files.find_one(str(tmp_path), PATTERNS, "")
    found = model_files.unusable("/x/model.json", "it\n is broken.")
    assert str(found) == "The model's model.json cannot be used: it is broken."
