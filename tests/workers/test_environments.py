"""Environments of models, made with pip out of wheels that the tests write."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import venv
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modelplex.workers.environments import Environment, Environments
from modelplex.workers.errors import LoadFailed
from tests.support.wheels import make_wheel


class Workshop:
    """A place for environments, and for models' folders with requirements."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lines: list[str] = []
        self.told = asyncio.Event()  # when pip has said something
        self.all: list[Environments] = []

    def environments(self, folder: str = "environments", **settings: float) -> Environments:
        made = Environments(self.root / folder, Path(sys.executable), **settings)
        self.all.append(made)
        return made

    def requirements(self, text: str, model: str = "m") -> Path:
        path = self.root / model / "code" / "requirements.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    async def obtain(self, environments: Environments, text: str, model: str = "m") -> Environment:
        return await environments.obtain(self.requirements(text, model), self.tell)

    def tell(self, line: str) -> None:
        self.lines.append(line)
        self.told.set()


@pytest.fixture
async def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Workshop]:
    """pip sees the versions 1.0 and 2.0 of `toys`, and no index."""
    for version in ("1.0", "2.0"):
        make_wheel(tmp_path / "wheels", "toys", version)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    shop = Workshop(tmp_path)
    yield shop
    for each in shop.all:
        await each.close()


def ask(environment: Environment, code: str) -> str:
    """What the environment's Python prints."""
    argv = [environment.python, "-c", code]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


async def test_an_environment_has_what_the_file_asks_for_and_what_the_base_has(workshop):
    """The base is a virtual environment itself: its pytest is seen, and toys is new."""
    environment = await workshop.obtain(workshop.environments(), "toys==1.0\n")
    assert ask(environment, "import toys, pytest; print(toys.VERSION)") == "1.0"
    assert any("toys" in line for line in workshop.lines)


async def test_its_own_packages_come_before_those_of_the_base(workshop, tmp_path):
    """Even where the base has the package in another version, which is not touched."""
    base = tmp_path / "base"
    venv.create(base, symlinks=True)
    with zipfile.ZipFile(make_wheel(tmp_path / "wheels", "toys", "1.0")) as wheel:
        wheel.extractall(next(base.glob("lib/*/site-packages")))
    old = Environment("base", base)
    environments = Environments(tmp_path / "environments", old.python)
    workshop.all.append(environments)
    environment = await workshop.obtain(environments, "toys==2.0\n")
    assert ask(environment, "import toys; print(toys.VERSION)") == "2.0"
    assert ask(old, "import toys; print(toys.VERSION)") == "1.0"


async def test_one_content_is_built_once_for_all_who_ask_for_it(workshop):
    """At the same time and later, for models in different folders, and by the next process."""
    first = workshop.environments()
    asked = [workshop.obtain(first, "toys==1.0\n", f"m{n}") for n in range(3)]
    found = set(await asyncio.gather(*asked))
    await first.close()
    unfinished = workshop.root / "environments" / "unfinished"
    unfinished.mkdir()
    found.add(await workshop.obtain(workshop.environments(), "toys==1.0\n", "late"))
    assert len(found) == 1
    assert sum("Successfully installed" in line for line in workshop.lines) == 1
    assert not unfinished.exists()


async def test_a_folder_belongs_to_one_process(workshop):
    """Who comes second is told so."""
    nothing = workshop.root / "nothing.txt"
    with pytest.raises(LoadFailed, match=r"cannot read the model's nothing.txt"):
        await workshop.environments().obtain(nothing, workshop.lines.append)
    with pytest.raises(LoadFailed, match="another process uses"):
        await workshop.environments().obtain(nothing, workshop.lines.append)


@pytest.mark.parametrize("turns", [1, 2, 3, 4])
async def test_closing_while_it_opens_lets_go_of_the_folder(workshop, turns):
    """However far it has come; the next one finds it free."""
    nothing = workshop.root / "nothing.txt"
    first = workshop.environments()
    task = asyncio.create_task(first.obtain(nothing, workshop.lines.append))
    for _ in range(turns):
        await asyncio.sleep(0)
    await first.close()
    with pytest.raises(LoadFailed, match="being stopped"):
        await task
    with pytest.raises(LoadFailed, match=r"cannot read the model's nothing.txt"):
        await workshop.environments().obtain(nothing, workshop.lines.append)


async def test_a_failed_installation_says_what_pip_said_and_is_tried_again(workshop):
    """Nothing of it stays behind."""
    environments = workshop.environments()
    with pytest.raises(LoadFailed, match=r"(?s)requirements.txt failed \(exit code 1\).*toys==3"):
        await workshop.obtain(environments, "toys==3.0\n")
    make_wheel(workshop.root / "wheels", "toys", "3.0")
    environment = await workshop.obtain(environments, "toys==3.0\n")
    assert ask(environment, "import toys; print(toys.VERSION)") == "3.0"
    assert [p.name for p in (workshop.root / "environments").iterdir() if p.is_dir()] == [
        environment.key
    ]


async def test_files_beside_the_requirements_count_as_content(workshop):
    """Relative names work, through `-r` too, and another wheel of one name is not the same."""
    environments = workshop.environments()
    code = workshop.requirements("").parent
    (code / "more.txt").write_text("--find-links wheels\nlocal==1.0\n")
    for who in ("one", "two"):
        make_wheel(code / "wheels", "local", "1.0", f"WHO = {who!r}\n")
        environment = await workshop.obtain(environments, "-r more.txt\n")
        assert ask(environment, "import local; print(local.WHO)") == who


async def test_environments_that_are_too_many_are_removed_unless_used(workshop):
    """Those that were not used for longest first."""
    environments = workshop.environments(kept_max=3)
    used = await workshop.obtain(environments, "# used\n")
    for name, age in (("b", 1), ("a", 2), ("c", 3)):
        marker = used.folder.with_name(name) / "complete"
        marker.parent.mkdir()
        marker.touch()
        os.utime(marker, (time.time() - age, time.time() - age))
    os.utime(used.folder / "complete", (0, 0))
    new = await workshop.obtain(environments, "# new\n")
    folders = {path.name for path in used.folder.parent.iterdir() if path.is_dir()}
    assert folders == {used.key, new.key, "b"}


async def test_a_build_that_takes_too_long_fails(workshop):
    """Its processes are ended and its folder is gone."""
    environments = workshop.environments(build_timeout_s=0.0)
    with pytest.raises(LoadFailed, match="not installed within 0 s"):
        await workshop.obtain(environments, "toys==1.0\n")


async def test_a_build_outlives_the_one_who_wanted_it(workshop):
    """The next one finds it, or waits for the rest."""
    environments = workshop.environments()
    task = asyncio.create_task(workshop.obtain(environments, "toys==1.0\n"))
    await workshop.told.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    environment = await workshop.obtain(environments, "toys==1.0\n")
    assert ask(environment, "import toys; print(toys.VERSION)") == "1.0"
    assert sum("Successfully installed" in line for line in workshop.lines) == 1


async def test_closing_ends_builds_under_way(workshop):
    """Who waits for one is told so."""
    environments = workshop.environments()
    task = asyncio.create_task(workshop.obtain(environments, "toys==1.0\n"))
    await workshop.told.wait()
    await environments.close()
    with pytest.raises(LoadFailed, match="being stopped"):
        await task


async def test_a_python_that_cannot_be_run_is_a_failed_load(workshop, tmp_path):
    """The text has its name."""
    environments = Environments(tmp_path / "e", tmp_path / "nopython")
    workshop.all.append(environments)
    with pytest.raises(LoadFailed, match="nopython"):
        await workshop.obtain(environments, "toys==1.0\n")
