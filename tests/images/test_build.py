"""Building images: once per content, whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from modelplex.images.environment import BuildFailed
from tests.images.conftest import Images, MakeFolder, make_wheel
from tests.support.platform import COMMAND
from tests.support.processes import eventually, processes_of


def test_the_environment_is_the_images_own(
    images: Images, make_folder: MakeFolder, tmp_path: Path
) -> None:
    """A requirement is installed there and found by the image's Python, and by nobody else."""
    folder = make_folder('requirements = "requirements.txt"\n')
    wheel = make_wheel(folder, "tinything", "WORD = 'tiny'\n")
    (folder / "requirements.txt").write_text(f"./{wheel.name}\n")
    (folder / "handler.py").write_text("from tinything import WORD\n\ndef handle(d, c): ...\n")
    built = images.build(folder)
    assert built.fresh
    assert built.image.preload == ("tinything",)
    code = "import tinything, sys; print(tinything.WORD, sys.prefix)"
    out = subprocess.check_output([built.image.python, "-c", code], text=True)
    assert out == f"tiny {built.image.python.parent.parent}\n"
    assert any("tinything-1.0" in detail for step, detail in images.steps if step == "requirements")
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert elsewhere.returncode


def test_the_same_content_is_built_once(images: Images, make_folder: MakeFolder) -> None:
    """A second build, under another name, only makes the name; caches and git do not count."""
    first = images.build(make_folder())
    again = images.build(
        make_folder(**{"__pycache__/x.pyc": "x", ".git/HEAD": "x"}), "other/name:2"
    )
    assert (first.fresh, again.fresh) == (True, False)
    assert again.image.hash == first.image.hash
    assert [each.name for each in images.store.all()] == ["demo:latest", "other/name:2"]


@pytest.mark.parametrize("name", ["handler.py", "deep/er/data.txt", "image.toml"])
def test_other_content_is_another_image(images: Images, make_folder: MakeFolder, name: str) -> None:
    """Any file counts, and the tag moves to the newer image; the older one stays until pruned."""
    first = images.build(make_folder())
    folder = make_folder()
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("a") as file:
        file.write("\n# more\n")
    second = images.build(folder)
    assert second.fresh
    assert second.image.hash != first.image.hash
    assert images.store.resolve("demo") == second.image
    assert (first.image.folder / "handler.py").exists()


def test_an_executable_bit_is_content(images: Images, make_folder: MakeFolder) -> None:
    """The same bytes that can be run are another image."""
    folder = make_folder()
    first = images.build(folder)
    (folder / "handler.py").chmod(0o755)
    assert images.build(folder).image.hash != first.image.hash


def test_a_failing_requirement_leaves_nothing(images: Images, make_folder: MakeFolder) -> None:
    """pip's last lines are in the error; the name keeps standing for the image before."""
    first = images.build(make_folder())
    folder = make_folder(
        'requirements = "requirements.txt"\n', **{"requirements.txt": "./not-there-1.0.whl\n"}
    )
    with pytest.raises(BuildFailed, match="pip install failed") as raised:
        images.build(folder)
    assert "not-there-1.0.whl" in raised.value.tail
    assert images.names() == [first.image.hash, "refs.json"]
    assert images.store.resolve("demo") == first.image


@pytest.mark.parametrize(
    ("handler", "complaint"),
    [
        ("import not_there_at_all", "not_there_at_all"),
        ("def other(data, context): ...", "has no 'handle'"),
        ("raise SystemExit(1)", "SystemExit"),
        ("import os; os._exit(3)", ""),
    ],
)
def test_a_handler_that_cannot_be_imported_is_found_at_build(
    images: Images, make_folder: MakeFolder, handler: str, complaint: str
) -> None:
    """The user reads the traceback now, not when the endpoint fails."""
    with pytest.raises(BuildFailed, match=r"handler\.py:handle") as raised:
        images.build(make_folder(**{"handler.py": handler}))
    assert complaint in raised.value.tail
    assert images.names() == []


def test_preload_is_what_the_images_own_code_names(images: Images, make_folder: MakeFolder) -> None:
    """Direct imports, submodules too, also those of its other modules; never its own code."""
    folder = make_folder(
        **{
            "handler.py": "import mine\nfrom xml import dom\ndef handle(d, c): import csv\n",
            "mine.py": "import wave",
        }
    )
    assert images.build(folder).image.preload == ("wave", "xml", "xml.dom")


def test_a_python_that_is_not_there_is_named(images: Images, make_folder: MakeFolder) -> None:
    """image.toml's python is looked for on PATH."""
    with pytest.raises(BuildFailed, match=r"Python 3\.99, but there is no python3\.99 on PATH"):
        images.build(make_folder('python = "3.99"\n'))


def test_builds_of_the_same_content_wait_for_each_other(
    images: Images, make_folder: MakeFolder
) -> None:
    """Of four at once one builds; all give the same image."""
    folder, found = make_folder(), []
    threads = [
        threading.Thread(target=lambda n=n: found.append(images.build(folder, f"n{n}")))
        for n in range(4)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(each.fresh for each in found) == [False, False, False, True]
    assert len({each.image.hash for each in found}) == 1
    assert len(images.store.all()) == 4


def test_a_killed_build_is_swept_away_by_the_next(images: Images, make_folder: MakeFolder) -> None:
    """What SIGKILL left is no image, and is gone after any other build."""
    half = images.store.root / "0123456789ab"
    (half / "code").mkdir(parents=True)
    assert images.store.read(half.name, "x") is None
    images.build(make_folder())
    assert not half.exists()


def test_an_interrupted_build_cleans_up(tmp_path: Path, make_folder: MakeFolder) -> None:
    """SIGTERM to `modelplex build`: the handler's process and the folder are gone."""
    folder = make_folder(
        **{"handler.py": f"import time; open({str(tmp_path / 'mark')!r}, 'w'); time.sleep(600)"}
    )
    command = [COMMAND, "build", "-t", "demo", str(folder)]
    command += ["--data", str(tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        eventually((tmp_path / "mark").exists)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"Aborted" in errors
    left = [each.name for each in (tmp_path / "data" / "images").iterdir()]
    assert all(each.endswith(".lock") for each in left)
    assert not processes_of(tmp_path / "data" / "images")


def test_the_callers_python_variables_do_not_leak(
    images: Images, make_folder: MakeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PYTHONPATH of the shell must not make a build succeed that fails elsewhere."""
    (tmp_path / "sneaky.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(BuildFailed):
        images.build(make_folder(**{"handler.py": "import sneaky\ndef handle(d, c): ..."}))
    assert os.environ["PYTHONPATH"] == str(tmp_path)


def test_handlers_may_use_the_toolkit(images: Images, make_folder: MakeFolder) -> None:
    """It is there at build as it is when models are loaded; the rest of the platform is not."""
    handler = "from modelplex.toolkit import trust\n\ndef handle(d, c): ...\n"
    image = images.build(make_folder(**{"handler.py": handler})).image
    assert "modelplex.toolkit.trust" in image.preload
    with pytest.raises(BuildFailed) as raised:
        images.build(make_folder(**{"handler.py": "from modelplex import images"}))
    assert "ImportError" in raised.value.tail


@pytest.mark.parametrize("word", ["python", "sh", "run.sh", "./run.sh", "/bin/sh", "nothing"])
def test_a_command_has_to_be_there(images: Images, make_folder: MakeFolder, word: str) -> None:
    """In the environment, in the folder (executable), or on PATH."""
    folder = make_folder(**{"run.sh": "#!/bin/sh\n"})
    (folder / "run.sh").chmod(0o755)
    (folder / "image.toml").write_text(f'command = ["{word}"]')
    if word != "nothing":
        assert images.build(folder).image.command == (word,)
        return
    with pytest.raises(BuildFailed, match=f"command: {word!r} is no program"):
        images.build(folder)
    assert images.names() == []
