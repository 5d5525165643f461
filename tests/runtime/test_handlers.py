"""Handlers are found and started as by Multi Model Server."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

from modelplex.runtime import handlers
from modelplex.runtime.context import Context

FUNCTION = """
calls = []
def handle(data, context):
    calls.append((data, context.model_name))
    return [calls]
"""
SERVICE = """
class Service:
    def __init__(self): self.weights = None
    def initialize(self, context): self.weights = context.system_properties["model_dir"]
    def handle(self, data, context): return [self.weights]
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """The image's folder."""
    (tmp_path / "code").mkdir()
    return tmp_path / "code"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The model's folder."""
    (tmp_path / "model").mkdir()
    return tmp_path / "model"


def write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))


def start(folder: Path, code: Path, handler: str, explicit: str = ""):
    context = Context("m", str(folder), handlers.read_manifest(str(folder)))
    return handlers.load(context, str(code), explicit, handler), context


@pytest.mark.parametrize(
    "handler", ["service_a.py:handle", "service_a:handle", "service_a.py", "service_a"]
)
def test_a_function_is_called_with_none_at_load(folder, code, handler):
    """Then with each request; its name is `handle` unless given."""
    write(code, "service_a.py", FUNCTION)
    entry, context = start(folder, code, handler)
    assert entry([1], context) == [[(None, "m"), ([1], "m")]]


@pytest.mark.parametrize("handler", ["service_b.py", "service_b.py:Service", "service_b:handle"])
def test_a_class_is_initialized_once(folder, code, handler):
    """Whether it is named or the only one."""
    write(code, "service_b.py", "from json import JSONEncoder\n" + SERVICE)
    entry, context = start(folder, code, handler)
    assert entry([1], context) == [str(folder)]


@pytest.mark.parametrize(
    "handler", ["serving/service_c.py:handle", "/no/where/service_c.py:handle"]
)
def test_a_handler_may_name_its_folder(folder, code, handler):
    """One that is not there is taken for a container's path, and the image's folder is searched."""
    where = code / "serving" if handler.startswith("serving") else code
    write(where, "service_c.py", "import beside_c\n" + FUNCTION)
    write(where, "beside_c.py", "")
    start(folder, code, handler)


def test_a_model_may_bring_its_own_handler(folder, code):
    """Named in its manifest, which the context has."""
    write(code, "service_d.py", "raise AssertionError")
    write(folder, "service_d.py", FUNCTION)
    manifest = {"model": {"handler": "service_d.py:handle", "modelName": "x"}}
    write(folder, "MAR-INF/MANIFEST.json", json.dumps(manifest))
    _, context = start(folder, code, "service_d.py:handle")
    assert context.manifest == manifest


def test_the_images_handler_is_not_shadowed_by_a_models_file(folder, code):
    """Without a manifest the image's own module is meant, though the model's folder comes first."""
    write(code, "service_e.py", "import helper_e\n" + FUNCTION)
    write(folder, "service_e.py", "raise AssertionError")
    write(code, "helper_e.py", "raise AssertionError")
    write(folder, "helper_e.py", "")
    start(folder, code, "service_e.py")
    assert sys.modules["helper_e"].__file__ == str(folder / "helper_e.py")


def test_a_models_module_shadows_a_package_imported_beforehand(folder, code, tmp_path):
    """A model that carries its own six.py gets its own."""
    preloaded = ModuleType("six_of_test")
    preloaded.__file__ = "/env/lib/site-packages/six_of_test/__init__.py"
    sys.modules["six_of_test"] = preloaded
    sys.modules["six_of_test.moves"] = ModuleType("six_of_test.moves")
    write(folder, "six_of_test.py", "MINE = True")
    write(code, "service_f.py", "import six_of_test\nassert six_of_test.MINE\n" + FUNCTION)
    start(folder, code, "service_f.py")
    assert "six_of_test.moves" not in sys.modules


@pytest.mark.parametrize(
    ("source", "handler", "message"),
    [
        ("", "service_g.py", "instead of one class.* it has: none"),
        (SERVICE + SERVICE.replace("Service", "Other"), "service_g.py", "Other, Service"),
        ("handle = 3", "service_g.py", "is not a function or class"),
        ("class handle: pass", "service_g.py", "has no method handle"),
        (FUNCTION, ":handle", "names no module"),
    ],
)
def test_what_is_no_handler_is_refused(folder, code, source, handler, message):
    """With what is there instead."""
    write(code, "service_g.py", source)
    with pytest.raises(handlers.HandlerError, match=message):
        start(folder, code, handler)


@pytest.mark.parametrize("manifest", ["{", "\xff", '{"model": {"handler": 3}}'])
def test_a_damaged_manifest_is_refused(folder, code, manifest):
    """Rather than running another handler than the model's."""
    write(code, "service_h.py", FUNCTION)
    write(folder, "MAR-INF/MANIFEST.json", "")
    (folder / "MAR-INF/MANIFEST.json").write_text(manifest, "latin-1")
    with pytest.raises(handlers.HandlerError, match=r"MANIFEST\.json"):
        start(folder, code, "service_h.py")


@pytest.mark.parametrize("manifest", ["{}", "[]", '{"model": {}}', '{"model": {"handler": ""}}'])
def test_a_manifest_without_a_handler_leaves_the_images(folder, code, manifest):
    """As an archive that was made for its data alone."""
    write(code, "service_i.py", FUNCTION)
    write(folder, "MAR-INF/MANIFEST.json", manifest)
    start(folder, code, "service_i.py")


def test_errors_of_initialize_are_not_swallowed(folder, code):
    """Multi Model Server logs them and reports the model as loaded."""
    write(code, "service_j.py", SERVICE.replace("self.weights = context", "raise OSError; context"))
    with pytest.raises(OSError):  # noqa: PT011  the handler raised it without a text
        start(folder, code, "service_j.py")


def test_code_of_models_may_be_refused(folder, code, monkeypatch):
    """A handler named in the archive is not run, and its modules are not found."""
    monkeypatch.setenv(handlers.CODE_VARIABLE, "refuse")
    monkeypatch.setattr(sys, "path", [*sys.path])
    write(code, "service_r.py", "import helper_r\ndef handle(data, context): return helper_r.WHO")
    write(code, "helper_r.py", "WHO = 'image'")
    write(folder, "helper_r.py", "WHO = 'model'")
    entry, _ = start(folder, code, "service_r.py")
    assert entry(None, None) == "image"
    manifest = {"model": {"handler": "own.py:handle"}}
    write(folder, "MAR-INF/MANIFEST.json", json.dumps(manifest))
    with pytest.raises(handlers.HandlerError, match=r"own\.py:handle, and this endpoint refuses"):
        start(folder, code, "service_r.py")
    entry, _ = start(folder, code, "service_r.py", explicit="service_r.py")  # the server's own word
    assert entry(None, None) == "image"
