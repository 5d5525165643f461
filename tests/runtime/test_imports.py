"""What is learned from imports, and what is not."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from modelplex.runtime import imports


def test_new_modules_are_learned_in_order(tmp_path, monkeypatch):
    """One by one, without those of the model, aliases, and modules without a file."""
    for folder, names in (("env", ("first_i", "second_i")), ("model", ("own_i",))):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / f"{name}.py").write_text("")
        monkeypatch.syspath_prepend(tmp_path / folder)
    imports.mark()
    for name in ("second_i", "own_i", "first_i"):
        importlib.import_module(name)
    sys.modules["alias_i"] = sys.modules["first_i"]
    sys.modules["made_up_i"] = ModuleType("made_up_i")
    assert imports.learned([str(tmp_path / "model")]) == ["second_i", "first_i"]
    imports.mark()
    assert imports.learned([]) == []


def test_names_are_packed_up_to_a_limit():
    """And never cut in the middle."""
    names = [f"module{n:05}" for n in range(20_000)]
    packed = imports.pack(names)
    assert len(packed) <= imports.LEARNED_BYTES_MAX
    unpacked = imports.unpack(packed)
    assert 8000 < len(unpacked) < 20_000
    assert unpacked == names[: len(unpacked)]
    assert imports.unpack(imports.pack([])) == []


def test_a_preload_that_fails_is_told(tmp_path, monkeypatch):
    """Whatever the module raises; the others are imported."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "exits_i.py").write_text("raise SystemExit(3)")
    (tmp_path / "fine_i.py").write_text("")
    (failure,) = imports.preload(["exits_i", "fine_i"])
    assert failure == "cannot import exits_i beforehand: SystemExit: 3"
    assert "fine_i" in sys.modules
