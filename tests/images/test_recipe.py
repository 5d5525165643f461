"""image.toml and the folder around it: what is accepted, and what is said otherwise."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelplex.images import recipe
from modelplex.images.recipe import Recipe, RecipeError
from tests.images.conftest import MakeFolder


def test_everything_that_can_be_said(make_folder: MakeFolder) -> None:
    """All entries, read into a value."""
    folder = make_folder(
        'requirements = "r.txt"\npython = "3.9"\nmodels_per_worker = 50\n[environment]\nA = "b"\n',
        **{"r.txt": ""},
    )
    assert recipe.read(folder) == Recipe("handler.py:handle", "r.txt", "3.9", {"A": "b"}, 50)


def test_what_handlers_and_commands_can_say(make_folder: MakeFolder) -> None:
    """Batches and preparation for the ones; words for the others, and requirements for both."""
    folder = make_folder('batch_max = 8\nprepare = "handler.py:prepare"\n')
    found = recipe.read(folder)
    assert (found.batch_max, found.prepare, found.command) == (8, "handler.py:prepare", ())
    (folder / "image.toml").write_text('command = ["serve", "--fast"]\nrequirements = "r.txt"\n')
    (folder / "r.txt").write_text("")
    assert recipe.read(folder) == Recipe(command=("serve", "--fast"), requirements="r.txt")


@pytest.mark.parametrize(
    ("toml", "complaint"),
    [
        ("handle = 1", "unknown entry 'handle'; known: handler"),
        ('python = "3.11"', "handler is missing.*or command ="),
        ("command = []", "must be a list of 1 to 100 texts"),
        ('command = "serve"', "must be a list of 1 to 100 texts"),
        ('command = ["serve"]\nhandler = "handler.py"', "command and handler are given"),
        ('command = ["serve"]\nbatch_max = 2', "command and batch_max are given"),
        ('handler = "handler.py"\nbatch_max = 0', "batch_max = 0 must be a whole number"),
        ('handler = "handler.py"\nprepare = "handler.py"', "must be FILE.py:FUNCTION"),
        ('handler = "handler.py"\nprepare = "no.py:run"', "the file in"),
        ("handler = ", "cannot be read"),
        ('handler = "no.py:handle"', "no no.py"),
        ('handler = "../x.py:handle"', "MODULE.py:FUNCTION"),
        ("handler = 3", "MODULE.py:FUNCTION|no 3.py"),
        ('handler = "handler.py"\nrequirements = "no.txt"', "'no.txt' is not a file"),
        ('handler = "handler.py"\nrequirements = "../out.txt"', "outside"),
        ('handler = "handler.py"\npython = 3.11', "must be a text"),
        ('handler = "handler.py"\npython = "3.7"', "too old"),
        ('handler = "handler.py"\nenvironment = "A"', "table"),
        ('handler = "handler.py"\nmodels_per_worker = 0', "= 0 must be a whole number from 1"),
        ('handler = "handler.py"\nmodels_per_worker = 1001', "to 1000"),
        ('handler = "handler.py"\nmodels_per_worker = true', "True must be"),
        ('handler = "handler.py"\nenvironment = {A = 1}', "A = 1"),
        ('handler = "handler.py"\nshare_identical = "no"', "must be true or false"),
        ('handler = "handler.py"\nenvironment = {"A B" = "1"}', "A B"),
    ],
)
def test_a_wrong_entry_is_named(make_folder: MakeFolder, toml: str, complaint: str) -> None:
    """The message has the entry, its value and what to write."""
    folder = make_folder(**{"../out.txt": ""})
    (folder / "image.toml").write_text(toml)
    with pytest.raises(RecipeError, match=complaint):
        recipe.read(folder)


def test_a_missing_image_toml_says_what_it_needs(tmp_path: Path) -> None:
    """The smallest possible file stands in the message."""
    with pytest.raises(RecipeError, match=r'handler = "model_handler\.py:handle"'):
        recipe.read(tmp_path)


def test_inner_links_are_kept_and_outer_ones_refused(make_folder: MakeFolder) -> None:
    """A link means the same on every machine only if it stays in the folder."""
    folder = make_folder(**{"sub/file": "x", "other/file": "y"})
    (folder / "sub" / "link").symlink_to("../other/file")
    assert folder / "sub" / "link" in list(recipe.files(folder))
    for target in ("../../outside", "/etc/passwd", "nowhere"):
        (folder / "bad").unlink(missing_ok=True)
        (folder / "bad").symlink_to(target)
        with pytest.raises(RecipeError, match="link out of the folder"):
            list(recipe.files(folder))


def test_a_pipe_is_refused(make_folder: MakeFolder) -> None:
    """Reading it would wait for ever."""
    folder = make_folder()
    os.mkfifo(folder / "pipe")
    with pytest.raises(RecipeError, match="neither a file nor a folder"):
        recipe.content_hash(folder)


def test_names_and_contents_cannot_be_mixed_up(tmp_path: Path) -> None:
    """Moving a byte between a name and a content changes the hash; so does any given fact."""
    hashes = set()
    for number, (name, text) in enumerate([("ab", "c"), ("a", "bc"), ("abc", "")]):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / name).write_text(text)
        hashes |= {recipe.content_hash(folder), recipe.content_hash(folder, "fact")}
    assert len(hashes) == 6
