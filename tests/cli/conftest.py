"""One real platform for all commands, and the commands run in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from modelplex.cli.app import main
from tests.support.models import make_archive
from tests.support.platform import Platform


class Command:
    """`modelplex …` on one data folder."""

    def __init__(self, data: Path) -> None:
        self.data = data

    def run(self, *arguments: str, stdin: bytes = b"", env: dict[str, str] | None = None) -> Result:
        """Run a command; the environment has no AWS settings but those given."""
        bare: dict[str, str | None] = {"AWS_ENDPOINT_URL": None, "MODELPLEX_DATA": str(self.data)}
        return CliRunner(env={**bare, **(env or {})}).invoke(main, arguments, input=stdin)

    def ok(self, *arguments: str, stdin: bytes = b"") -> str:
        """Run a command that must succeed; what it printed to stdout."""
        result = self.run(*arguments, stdin=stdin)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *arguments: str, stdin: bytes = b"") -> Any:
        """Run with --json and read the answer."""
        return json.loads(self.ok(*arguments, "--json", stdin=stdin))

    def fails(self, *arguments: str, stdin: bytes = b"", code: int = 1) -> str:
        """Run a command that must fail with this exit status; what it said about that."""
        result = self.run(*arguments, stdin=stdin)
        assert result.exit_code == code, result.output
        return result.stderr


@pytest.fixture(scope="session")
def command(platform: Platform) -> Command:
    """Commands on the shared platform."""
    return Command(platform.data)


@pytest.fixture
def nowhere(tmp_path: Path) -> Command:
    """Commands on a data folder where nothing has ever run."""
    return Command(tmp_path / "nowhere")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `deploy` takes it: an archive, one deeper down, and a model that is a folder."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "one.tar.gz").write_bytes(make_archive({"weights.txt": "one"}))
    (folder / "deep").mkdir()
    (folder / "deep" / "two.tar.gz").write_bytes(make_archive({"weights.txt": "two"}))
    (folder / "three" / "__pycache__").mkdir(parents=True)
    (folder / "three" / "weights.txt").write_text("three")
    return folder


@pytest.fixture(scope="session")
def endpoint(command: Command, models: Path) -> Iterator[str]:
    """An endpoint over `models`, shared by all tests that only look at it."""
    command.ok("deploy", "shared", "--image", "echo", "--models", str(models))
    yield "shared"
    command.ok("delete", "shared", "--all", "--yes")
