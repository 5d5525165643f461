"""Models in one process see their own modules, and only those."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from modelplex.runtime import handlers, namespaces
from modelplex.runtime.namespaces import Namespace


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Makes an entered namespace for a model of these files; the image's are in `code`."""
    monkeypatch.setattr(sys, "path_hooks", list(sys.path_hooks))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    write(tmp_path / "code", {"shared_h.py": "made = []"})
    namespaces.prepare(str(tmp_path / "code"))

    def namespace(name: str, handler: str = "shared_h.py", **files: str) -> Namespace:
        write(tmp_path / name, {f"{file}.py": text for file, text in files.items()})
        made = Namespace(str(tmp_path / name), str(tmp_path / "code"), handler)
        made.enter()
        return made

    return namespace


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package that everybody shares, loaded already."""
    place = tmp_path / "site-packages"
    write(place / "common_h", {"__init__.py": "whose = 'installed'", "part.py": ""})
    monkeypatch.syspath_prepend(place)
    return importlib.import_module("common_h.part")


def write(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def handler_module(tmp_path: Path, handler: str = "shared_h.py") -> ModuleType:
    return handlers.import_handler(handler, [str(tmp_path / "code")])[0]


def test_modules_are_made_anew_from_code_that_is_compiled_once(make, tmp_path):
    """And are there only while their model is."""
    modules = []
    for name in ("a", "b"):
        namespace = make(name, helper_h=f"whose = {name!r}", handler="shared_h.py")
        modules.append((handler_module(tmp_path), importlib.import_module("helper_h")))
        namespace.leave()
        assert not {"shared_h", "helper_h"} & set(sys.modules)
        namespace.enter()
        assert sys.modules["helper_h"].whose == name
        assert Path.cwd() == tmp_path / name
        namespace.leave()
        assert str(tmp_path / name) not in sys.path
        assert not [place for place in sys.path_importer_cache if place == str(tmp_path / name)]
    (first, own), (second, _) = modules
    assert first.made is not second.made
    codes = [code for path, code in namespaces._codes.items() if path == first.__file__]
    assert len(codes) == 1
    assert own.__file__ not in namespaces._codes


def test_what_is_imported_while_answering_stays_with_the_model(make):
    """If it is the model's; other modules stay with the process."""
    namespace = make("m", late_h="", unused_h="")
    namespace.leave()
    sys.modules.pop("colorsys", None)
    namespace.enter()
    for name in ("late_h", "colorsys"):
        importlib.import_module(name)
    namespace.leave()
    assert "colorsys" in sys.modules
    assert "late_h" not in sys.modules
    namespace.enter()
    assert "late_h" in sys.modules
    namespace.leave()


def test_a_model_may_have_its_own_of_an_installed_package(make, installed):
    """The others keep the installed one, whole."""
    namespace = make("m", common_h="whose = 'model'")
    assert importlib.import_module("common_h").whose == "model"
    namespace.leave()
    for _ in range(2):
        assert sys.modules["common_h"].whose == "installed"
        assert sys.modules["common_h.part"] is installed
        namespace.enter()
        assert sys.modules["common_h"].whose == "model"
        assert "common_h.part" not in sys.modules
        namespace.leave()


def test_a_handler_may_be_named_like_a_module_of_python(make, tmp_path):
    """Which is not harmed by it."""
    theirs = importlib.import_module("code")
    write(tmp_path / "code", {"code.py": ""})
    namespace = make("m", "code.py")
    ours = handler_module(tmp_path, "code.py")
    namespace.leave()
    assert sys.modules["code"] is theirs is not ours


def test_what_a_handler_does_to_the_path_stays_with_its_model(make, tmp_path):
    """Whether it changes the list or puts another in its place."""
    write(tmp_path / "a" / "lib", {"inner_h.py": ""})
    namespace = make("a")
    before = list(sys.path)
    sys.path.insert(0, os.path.join(os.getcwd(), "lib"))
    importlib.import_module("inner_h")
    sys.path = [*sys.path, "/nowhere"]
    changed = list(sys.path)
    namespace.leave()
    assert sys.path == before[2:]
    assert "inner_h" not in sys.modules
    namespace.enter()
    assert sys.path == changed
    assert "inner_h" in sys.modules
    namespace.leave()


def test_a_closed_namespace_lets_go_of_what_its_modules_held(make):
    """Without a search for garbage."""
    namespace = make("m", holding_h="import io\nheld = io.StringIO()")
    module = importlib.import_module("holding_h")
    namespace.leave()
    namespace.close()
    assert not hasattr(module, "held")


def test_a_folder_that_is_gone_is_told(make, tmp_path):
    """And nothing is entered."""
    namespace = make("m")
    namespace.leave()
    (tmp_path / "m").rmdir()
    before = list(sys.path)
    with pytest.raises(FileNotFoundError):
        namespace.enter()
    assert sys.path == before


def test_modules_of_a_model_whose_code_is_refused_are_not_found(make, monkeypatch):
    """The image's are."""
    monkeypatch.setenv(handlers.CODE_VARIABLE, "refuse")
    namespace = make("a", helper_h="", shared_h="made = 'by the model'")
    try:
        assert importlib.import_module("shared_h").made == []
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("helper_h")
    finally:
        namespace.leave()
