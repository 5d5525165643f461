"""`model-archiver` packs what MMS's packs, and never leaves a part of an archive."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from modelplex.archives.archiver import main
from modelplex.archives.manifest import Manifest, find
from modelplex.archives.tree import Bounds
from modelplex.archives.unpack import unpack
from modelplex.archives.unzip import unzip

WIDE = Bounds(10**8, 1000, 10**8)
PACKED = {"service.py", "sub/weights.bin", "MAR-INF/MANIFEST.json"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model's folder, with everything in it that is to be left out."""
    folder = tmp_path / "model"
    for name in (
        "service.py",
        "sub/weights.bin",
        "MANIFEST.json",
        "sub/MANIFEST.json",
        ".hidden",
        ".git/config",
        "__MACOSX/x",
        "__pycache__/service.pyc",
        "old.pyc",
        "old.mar",
        "sub/.DS_Store",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def pack(model: Path, out: Path, *more: str, name: str = "m-1.0") -> int:
    out.mkdir(exist_ok=True)
    always = ["--model-name", name, "--model-path", str(model), "--export-path", str(out)]
    return main([*always, "--handler", "service:handle", *more])


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_mar_holds_the_model_and_its_manifest(model: Path, tmp_path: Path) -> None:
    """And can be unpacked by the server."""
    assert pack(model, tmp_path / "out", "--runtime", "python3") == 0
    with (tmp_path / "out/m-1.0.mar").open("rb") as file:
        unzip(file, tmp_path / "again", WIDE)
    assert names(tmp_path / "again") == PACKED
    expected = Manifest(model_name="m-1.0", handler="service:handle", runtime="python3")
    assert find(tmp_path / "again") == (tmp_path / "again", expected)


def test_a_tar_holds_a_folder_of_the_models_name(model: Path, tmp_path: Path) -> None:
    """In which the server finds the model."""
    assert pack(model, tmp_path / "out", "--archive-format", "tgz") == 0
    data = (tmp_path / "out/m-1.0.tar.gz").read_bytes()
    unpack([data], tmp_path / "again", WIDE)
    folder, manifest = find(tmp_path / "again")
    assert folder == tmp_path / "again/m-1.0"
    assert names(folder) == PACKED
    assert manifest.handler == "service:handle"


def test_no_archive_makes_a_folder(model: Path, tmp_path: Path) -> None:
    """As the inference toolkit asks for it; or only the manifest, if the folder is the model's."""
    assert pack(model, tmp_path / "out", "--archive-format", "no-archive") == 0
    assert names(tmp_path / "out/m-1.0") == PACKED
    more = ("--archive-format", "no-archive", "--force")
    assert pack(model, tmp_path, *more, name="model") == 0
    assert (model / ".hidden").exists()
    assert find(model)[1].model_name == "model"


@pytest.mark.parametrize("form", ["default", "tgz", "no-archive"])
def test_an_archive_is_replaced_only_by_force(
    model: Path, tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise the old one stays as it is."""
    out = tmp_path / "out"
    assert pack(model, out, "--archive-format", form) == 0
    (model / "new.txt").write_text("new")
    assert pack(model, out, "--archive-format", form) == 1
    assert "--force" in capsys.readouterr().err
    assert pack(model, out, "--archive-format", form, "-f") == 0
    assert len(list(out.iterdir())) == 1


def test_a_failure_leaves_nothing(model: Path, tmp_path: Path) -> None:
    """No part of an archive, and an older one untouched."""
    out = tmp_path / "out"
    assert pack(model, out) == 0
    before = (out / "m-1.0.mar").read_bytes()
    (model / "zlink").symlink_to("nowhere")
    for form in ("default", "tgz", "no-archive"):
        assert pack(model, out, "--force", "--archive-format", form) == 1
    assert [path.name for path in out.iterdir()] == ["m-1.0.mar"]
    assert (out / "m-1.0.mar").read_bytes() == before


def test_a_link_to_a_file_is_packed_as_the_file(model: Path, tmp_path: Path) -> None:
    """Caches of model hubs are made of such links; one to a folder is refused."""
    (model / "link.bin").symlink_to("sub/weights.bin")
    assert pack(model, tmp_path / "out") == 0
    with zipfile.ZipFile(tmp_path / "out/m-1.0.mar") as packed:
        assert packed.read("link.bin") == b"sub/weights.bin"
    (model / "folder").symlink_to("sub")
    assert pack(model, tmp_path / "out", "--force") == 1


def test_an_archive_within_its_own_folder_does_not_hold_itself(model: Path) -> None:
    """Neither a .tar.gz nor a folder."""
    for form in ("tgz", "no-archive"):
        for _ in range(2):
            assert pack(model, model, "--archive-format", form, "--force") == 0
    assert not (model / "m-1.0/m-1.0").exists()


@pytest.mark.parametrize("name", ["", "../m", "-m", "a b", "m\n", ".m", "é"])
def test_names_are_checked(model: Path, tmp_path: Path, name: str) -> None:
    """A letter or digit first, then those, "_", "-" and "."."""
    assert main([f"--model-name={name}", f"--model-path={model}", "--handler=h"]) == 1


def test_folders_must_exist(model: Path, tmp_path: Path) -> None:
    """The model's, and the one for the archive."""
    assert pack(model / "service.py", tmp_path) == 1
    options = ["--model-name", "m", "--model-path", str(model), "--handler", "h"]
    assert main([*options, "--export-path", str(tmp_path / "nowhere")]) == 1


def test_onnx_is_not_converted(model: Path, tmp_path: Path) -> None:
    """`--convert` says so; without it the file is packed as any other."""
    (model / "net.onnx").write_bytes(b"x")
    assert pack(model, tmp_path / "out", "--convert") == 1
    assert pack(model, tmp_path / "out") == 0
