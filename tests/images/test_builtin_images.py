"""The images that come with modelplex: their names, and that each is a folder that can be built."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from modelplex.cli.app import main
from modelplex.images import builtin_images, recipe
from modelplex.images.store import BadName


@pytest.mark.parametrize("name", builtin_images.names())
def test_each_is_a_folder_as_anybodys(name: str) -> None:
    """A handler, and requirements that are pinned with hashes."""
    found = recipe.read(builtin_images.ROOT / name)
    assert found.handler
    assert found.requirements
    pins = (builtin_images.ROOT / name / found.requirements).read_text()
    assert "--hash=sha256:" in pins
    assert builtin_images.digest(name) == builtin_images.digest(name)
    assert builtin_images.find(builtin_images.full_name(name)) == name


def test_their_names_are_nobody_elses(tmp_path: Path) -> None:
    """`modelplex build` refuses them."""
    for taken in ("modelplex/mine", "123456789012.dkr.ecr.us-west-2.amazonaws.com/modelplex/x:1"):
        with pytest.raises(BadName, match="built-in"):
            builtin_images.check_free(taken)
    builtin_images.check_free("modelplexed/mine")
    folder = builtin_images.ROOT / "python"
    arguments = ["build", str(folder), "-t", "modelplex/python", "--data", str(tmp_path)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "built-in" in result.stderr


@pytest.mark.parametrize(
    "arguments", [[], ["-t", "x"], ["--builtin", "python", "-t", "x"], ["."], ["--builtin", "no"]]
)
def test_a_build_is_of_a_folder_or_of_a_built_in_image(
    tmp_path: Path, arguments: list[str]
) -> None:
    """Not of both, nor of half of one."""
    result = CliRunner().invoke(main, ["build", *arguments, "--data", str(tmp_path)])
    assert result.exit_code == 2, result.output
