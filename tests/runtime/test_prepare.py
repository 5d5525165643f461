"""The image's function that prepares artifacts, called as a worker's process calls it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from modelplex.runtime import prepare
from modelplex.runtime.handlers import HandlerError


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the process would take with it at its end."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(os.getcwd())


def test_the_function_gets_the_folder(tmp_path: Path) -> None:
    """It finds the modules beside it, and works in the artifact's folder."""
    code, folder = tmp_path / "code", tmp_path / "model"
    code.mkdir()
    folder.mkdir()
    (code / "prepared_beside.py").write_text("TEXT = 'made'\n")
    (code / "prepared_by.py").write_text(
        "import pathlib\n\nimport prepared_beside\n\n\ndef prepare(model_dir):\n"
        "    pathlib.Path('made.txt').write_text(prepared_beside.TEXT + ' in ' + model_dir)\n"
    )
    prepare.run("prepared_by.py:prepare", str(code), str(folder))
    assert (folder / "made.txt").read_text() == f"made in {folder}"


def test_a_module_without_the_function_is_an_error(tmp_path: Path) -> None:
    """It is named, with the form that it should have."""
    (tmp_path / "prepared_not.py").write_text("")
    with pytest.raises(HandlerError, match=r"prepared_not has no function prepare\(model_dir\)"):
        prepare.run("prepared_not.py:prepare", str(tmp_path), str(tmp_path))
