"""How the store of images is run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelplex.settings import Settings
from modelplex.supervisor import registry


def test_without_the_program_there_is_no_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller says which package has it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert registry.store(Settings(data=tmp_path)) is None


def test_it_runs_where_its_socket_is_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the socket's path is short; its configuration is whole before it starts."""
    (tmp_path / "run").mkdir()
    program = tmp_path / registry.BINARY
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    settings = Settings(data=tmp_path, secret_key="a-secret-key")
    spec = registry.store(settings)
    assert spec is not None
    assert spec.argv[-1] == str(program)
    assert spec.cwd == str(tmp_path / "run")
    (path,) = (tmp_path / "run").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    found = json.loads(path.read_text())
    assert found["http"]["addr"] == "registry.sock"
    assert found["storage"]["filesystem"]["rootdirectory"] == str(tmp_path / "registry")
    again = registry.configuration(settings)
    assert found == again  # the same secret at every start
    assert "a-secret-key" not in json.dumps(again)
