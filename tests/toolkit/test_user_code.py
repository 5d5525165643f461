"""A model's `code/` on the search path."""

from __future__ import annotations

import json
import os
import sys

import pytest

ASKS_HELPER = """
    import helper
    def model_fn(model_dir): return helper.WHO
    def transform_fn(model, data, content_type, accept): return model
"""


def test_code_is_importable(make_model):
    """Modules, and packages with and without __init__.py, beside the user's module."""
    files = {
        "code/helper.py": "from package.inner import deep\nWHO = deep.WHO\n",
        "code/package/__init__.py": "",
        "code/package/inner/deep.py": "WHO = 'deep'\n",
    }
    assert make_model(ASKS_HELPER, files).ask() == "deep"


def test_two_models_have_their_own_modules_of_one_name(make_model):
    """Both `inference` and what it imports, even in one process."""
    one = make_model(ASKS_HELPER, {"code/helper.py": "WHO = 'one'"}, name="one")
    two = make_model(ASKS_HELPER, {"code/helper.py": "WHO = 'two'"}, name="two")
    assert (one.ask(), two.ask()) == ("one", "two")


def test_packages_without_init_are_apart_too(make_model):
    """The second model's folder is found, though the first one's was imported."""
    text = ASKS_HELPER.replace("import helper", "from parts import helper")
    one = make_model(text, {"code/parts/helper.py": "WHO = 'one'"}, name="one")
    two = make_model(text, {"code/parts/helper.py": "WHO = 'two'"}, name="two")
    assert (one.ask(), two.ask()) == ("one", "two")


def test_what_was_imported_beforehand_gives_way(make_model):
    """A package of the image that the model brings its own of."""
    model = make_model(
        ASKS_HELPER.replace("import helper", "import pytest as helper"),
        {"code/pytest.py": "WHO = 'mine'"},
    )
    assert model.ask() == "mine"
    assert sys.modules["pytest"] is not pytest


def test_python_itself_does_not_give_way(make_model):
    """Modules of the standard library that are in use stay."""
    model = make_model(
        ASKS_HELPER, {"code/helper.py": "WHO = 1", "code/json.py": "", "code/os/x": ""}
    )
    assert model.ask() == 1
    assert sys.modules["json"] is json
    assert sys.modules["os"] is os


def test_a_model_without_code_changes_nothing(make_model, tmp_path):
    """The user's module may be at the model's top, which servers put on the path."""
    (tmp_path / "m").mkdir()
    sys.path.insert(0, str(tmp_path / "m"))
    text = "def model_fn(d): return 1\ndef transform_fn(m, a, b, c): return 2"
    (tmp_path / "m" / "top.py").write_text(text)
    os.environ["SAGEMAKER_PROGRAM"] = "top.py"
    try:
        assert make_model("raise SystemExit").ask() == 2
    finally:
        del os.environ["SAGEMAKER_PROGRAM"]
