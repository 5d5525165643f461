"""Images by name: spellings, tags, and what may be deleted."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from modelplex.cli.app import main
from modelplex.images.store import BadName, normal_name
from tests.images.conftest import Images, MakeFolder

ECR = "123456789012.dkr.ecr.us-west-2.amazonaws.com/"


@pytest.mark.parametrize(
    ("spelling", "normal"),
    [
        ("demo", "demo:latest"),
        ("demo:1.2", "demo:1.2"),
        ("a/b-c_d:x", "a/b-c_d:x"),
        (ECR + "demo", "demo:latest"),
        (ECR + "a/b:v1", "a/b:v1"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/demo:x", "demo:x"),
    ],
)
def test_spellings(spelling: str, normal: str) -> None:
    """Short names and ECR addresses mean NAME:TAG, the tag being latest if there is none."""
    assert normal_name(spelling) == normal


@pytest.mark.parametrize(
    "name", ["", "Demo", "demo:", ":x", "demo:a:b", "../demo", "a//", "demo:../x", "demo x", "a\n"]
)
def test_what_is_no_name(images: Images, name: str) -> None:
    """Refused when building, unknown when resolving."""
    with pytest.raises(BadName, match="is not an image's name"):
        normal_name(name)
    assert images.store.resolve(name) is None


def test_resolving_finds_every_spelling(images: Images, make_folder: MakeFolder) -> None:
    """CreateModel's Image may be written in any of them."""
    toml = 'environment = {A = "b"}\nmodels_per_worker = 7\nshare_identical = false\n'
    image = images.build(make_folder(toml)).image
    for spelling in ("demo", "demo:latest", ECR + "demo", ECR + "demo:latest"):
        assert images.store.resolve(spelling) == image
    assert images.store.resolve("demo:other") is None
    assert image.environment == {"A": "b"}
    assert image.handler == "handler.py:handle"
    assert (image.models_per_worker, image.share_identical) == (7, False)
    row = json.loads(listed(images, "--json"))[-1]  # after the built-in ones
    assert (row["models_per_worker"], row["share_identical"]) == (7, False)
    assert listed(images).splitlines()[-1].split()[4] == "7"
    assert "modelplex/python:latest" in listed(images)


def test_an_image_of_an_earlier_version_shares_nothing_new(
    images: Images, make_folder: MakeFolder
) -> None:
    """It says nothing of processes that models share, so they have one each."""
    built = images.build(make_folder()).image
    path = images.store.root / built.hash / "image.json"
    document = json.loads(path.read_text())
    for name in ("models_per_worker", "share_identical", "command", "batch_max", "prepare"):
        del document[name]
    path.write_text(json.dumps(document))
    assert images.store.resolve("demo") == built
    assert (built.models_per_worker, built.share_identical) == (1, True)


def listed(images: Images, *options: str) -> str:
    """What `modelplex images` prints."""
    result = CliRunner().invoke(main, ["images", "--data", str(images.store.root.parent), *options])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_removing_and_pruning(images: Images, make_folder: MakeFolder) -> None:
    """A name goes at once, an image only when no name and no instance needs it."""
    image = images.build(make_folder()).image
    assert images.store.remove(ECR + "demo")
    assert not images.store.remove("demo")
    assert images.store.prune({image.hash}) == []
    assert images.store.prune(set()) == [image.hash]
    assert images.names() == ["refs.json"]


def test_a_command_image_is_listed_with_its_command(
    images: Images, make_folder: MakeFolder
) -> None:
    """Where others have their handler."""
    folder = make_folder()
    (folder / "image.toml").write_text('command = ["sh", "-c", "sleep 1"]')
    image = images.build(folder).image
    assert (image.kind, image.command, image.handler) == ("command", ("sh", "-c", "sleep 1"), "")
    assert "sh -c sleep 1" in listed(images).splitlines()[-1]


def test_pruning_leaves_a_build_alone(images: Images, make_folder: MakeFolder) -> None:
    """A folder whose lock is held is being built."""
    half = images.store.root / "0123456789ab"
    (half / "code").mkdir(parents=True)
    with images.store.locked(half.name):
        assert images.store.prune(set()) == []
    assert images.store.prune(set()) == [half.name]
