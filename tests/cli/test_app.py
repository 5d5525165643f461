"""The command as a whole: quick help, documented commands, JSON everywhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from modelplex.cli.app import COMMANDS, main

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
WITHOUT_JSON = {"up", "down", "serve", "env", "completion"}  # env has --shell json


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name: str) -> None:
    """docs/reference/cli.md has a section for each and names each of its options."""
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.help
    _, _, section = PAGE.read_text().partition(f"\n## {name}\n")
    section = section.partition("\n## ")[0]
    options = [each for each in command.params if isinstance(each, click.Option)]
    if name != "up":  # whose options are the settings, in config.md
        missing = [o.opts[-1] for o in options if o.opts[-1] not in section]
        assert section
        assert not missing


def test_python_runs_it_too() -> None:
    """`python -m modelplex` is the command, under its name."""
    said = subprocess.check_output([sys.executable, "-m", "modelplex", "--help"], text=True)
    assert said.startswith("Usage: modelplex ")


def test_everyday_commands_have_json() -> None:
    """Scripts can read every one of them."""
    context = click.Context(main)
    for name in set(COMMANDS) - WITHOUT_JSON:
        command = main.get_command(context, name)
        assert command is not None
        assert "as_json" in {each.name for each in command.params}, name


def test_help_does_not_wait_for_boto3() -> None:
    """The AWS client is imported by the commands that call AWS, when they do."""
    code = (
        "import sys\n"
        "from modelplex.cli.app import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'boto3', 'botocore', 'rich'} & set(sys.modules)\n"
    )
    out = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert all(name in out for name in COMMANDS)


def test_an_unknown_command_is_refused() -> None:
    """Exit status 2, as for any wrong usage."""
    done = subprocess.run(
        [sys.executable, "-c", "from modelplex.cli.app import main; main(['nonsense'])"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "No such command 'nonsense'" in done.stderr
