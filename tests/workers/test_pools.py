"""Models with requirements of their own beside models without, in real processes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from modelplex.workers.environments import Environments
from modelplex.workers.errors import LoadFailed, OutOfMemory
from modelplex.workers.image import ImageSpec
from modelplex.workers.model import ModelSpec
from modelplex.workers.pools import Pools
from tests.support.wheels import make_wheel

TOOLKIT = "modelplex.toolkit.handler_service"
INFERENCE = """
import json, {imports}

def model_fn(model_dir):
    return {model!r}

def transform_fn(model, data, content_type, accept):
    return json.dumps([model, toys.VERSION])
"""


class Shop:
    """Pools with environments, and models to load."""

    def __init__(self, root: Path, kept: Path, idle_s: float) -> None:
        self.root = root
        self.lines: list[tuple[str, str]] = []
        image = root / "image"
        image.mkdir()
        self.pools = Pools(
            ImageSpec(image, Path(sys.executable), ""),
            {},
            lambda *line: self.lines.append(line),
            environments=Environments(kept, Path(sys.executable)),
            idle_s=idle_s,
        )

    def model(self, name: str, requirements: str | None, text: str = "") -> ModelSpec:
        code = self.root / name / "code"
        code.mkdir(parents=True)
        text = text or INFERENCE.format(imports="toys", model=name)
        (code / "inference.py").write_text(text)
        if requirements is not None:
            (code / "requirements.txt").write_text(requirements)
        return ModelSpec(name, code.parent, TOOLKIT)


def parent(pid: int) -> str:
    """The process id of a process's parent; "" when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    except FileNotFoundError:
        return ""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels of `toys` 1.0 and 2.0, and the environments, which one test after the other uses."""
    folder = tmp_path_factory.mktemp("place")
    for version in ("1.0", "2.0"):
        make_wheel(folder / "wheels", "toys", version)
    return folder


@pytest.fixture
async def make_shop(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., Awaitable[Shop]]]:
    """pip sees the versions 1.0 and 2.0 of `toys`, and no index."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(place / "wheels"))
    shops: list[Shop] = []

    async def make(idle_s: float = 300.0) -> Shop:
        shop = Shop(tmp_path, place / "environments", idle_s)
        shops.append(shop)
        await shop.pools.start()
        return shop

    yield make
    for shop in shops:
        await shop.pools.close()


async def test_two_models_have_each_their_code_and_their_version(make_shop, tools):
    """Side by side; what pip says is in the log of the model."""
    shop = await make_shop()
    models = [shop.model("one", "toys==1.0\n"), shop.model("two", "toys==2.0\n")]
    workers = await asyncio.gather(*(shop.pools.load(model, 60.0) for model in models))
    found = [(await tools.ask(worker)).body for worker in workers]
    assert found == [b'["one", "1.0"]', b'["two", "2.0"]']
    assert any(model == "two" and "toys-2.0" in line for model, line in shop.lines)


async def test_models_without_requirements_share_the_main_pool(make_shop, tools):
    """And do not see what other models have installed. All zygotes count as base."""
    shop = await make_shop()
    base = shop.pools.base_bytes()
    await shop.pools.load(shop.model("one", "toys==1.0\n"), 60.0)
    assert shop.pools.base_bytes() > base
    with pytest.raises(LoadFailed, match="No module named 'toys'"):
        await shop.pools.load(shop.model("bare", None), 60.0)
    plain = shop.model("plain", None, INFERENCE.format(imports="sys as toys", model=1))
    answer = await tools.ask(await shop.pools.load(plain, 60.0))
    assert (answer.status, answer.body[:14]) == (500, b"AttributeError")


async def test_simultaneous_loads_share_one_environment_and_one_zygote(make_shop):
    """They are siblings."""
    shop = await make_shop()
    models = [shop.model(f"m{n}", "toys==1.0\n") for n in range(3)]
    workers = await asyncio.gather(*(shop.pools.load(model, 60.0) for model in models))
    parents = {parent(worker.pid) for worker in workers}
    assert len(parents) == 1
    assert parents != {str(shop.pools.zygote_pid)}


async def test_a_pool_that_nobody_uses_is_closed(make_shop, tools):
    """Its zygote ends with the last worker, a template's workers included; the next load works."""
    shop = await make_shop(idle_s=0.0)
    base = shop.pools.base_bytes()
    model = shop.model("one", "toys==1.0\n")
    template = await shop.pools.load_template(model, 60.0)
    worker = await template.fork(60.0)
    await tools.ask(worker)  # now it leads a group of its own
    await template.unload()
    await asyncio.sleep(0)
    assert (await tools.ask(worker)).body == b'["one", "1.0"]'
    assert shop.pools.base_bytes() > base
    await worker.unload()
    await tools.eventually(lambda: shop.pools.base_bytes() == base)
    again = await shop.pools.load(model, 60.0)
    assert (await tools.ask(again)).body == b'["one", "1.0"]'


async def test_a_failed_installation_fails_the_load(make_shop):
    """With the end of what pip said; the next one is tried anew."""
    shop = await make_shop()
    with pytest.raises(LoadFailed, match=r"(?s)failed \(exit code 1\).*toys==9"):
        await shop.pools.load(shop.model("one", "toys==9\n"), 60.0)


async def test_a_load_that_waits_too_long_for_its_environment_fails(make_shop):
    """While the installation goes on."""
    shop = await make_shop()
    with pytest.raises(LoadFailed, match="not installed within 0 s"):
        await shop.pools.load(shop.model("one", "toys==1.0\n"), 0.0)


async def test_a_lack_of_memory_is_told_apart(make_shop):
    """The toolkit's MemoryError at load is the pool's OutOfMemory."""
    shop = await make_shop()
    text = "def model_fn(model_dir): raise RuntimeError('CUDA out of memory')\n"
    with pytest.raises(OutOfMemory):
        await shop.pools.load(shop.model("big", None, text), 60.0)


async def test_of_the_platform_only_runtime_and_toolkit_are_importable(make_shop, tools):
    """Whatever of it the interpreter has installed."""
    shop = await make_shop()
    text = """
import importlib

def model_fn(model_dir):
    found = []
    for name in ("modelplex.toolkit.errors", "modelplex.runtime.frames", "modelplex.workers",
                 "modelplex.settings", "modelplex.http.server"):
        try:
            importlib.import_module(name)
            found.append(name)
        except ImportError:
            pass
    import modelplex.toolkit.errors
    return found + [modelplex.toolkit.errors.__name__]

def transform_fn(model, data, content_type, accept):
    return model
"""
    answer = await tools.ask(await shop.pools.load(shop.model("m", None, text), 60.0))
    assert answer.body.count(b"modelplex.toolkit.errors") == 2
    assert answer.body.count(b"modelplex") == 3


async def test_closing_leaves_nothing(make_shop):
    """Neither zygotes nor workers; a load after it is refused."""
    shop = await make_shop()
    worker = await shop.pools.load(shop.model("one", "toys==1.0\n"), 60.0)
    await shop.pools.close()
    assert worker.exited.done()
    assert parent(worker.pid) == ""
    with pytest.raises(LoadFailed):
        await shop.pools.load(shop.model("two", "toys==1.0\n"), 60.0)


async def test_packages_of_models_may_be_refused(tmp_path: Path) -> None:
    """Nothing is installed for a model where its code is not wanted."""
    python = Path(sys.executable)
    pools = Pools(
        ImageSpec(tmp_path, python, ""),
        {"MODELPLEX_MODEL_CODE": "refuse"},
        lambda *line: None,
        environments=Environments(tmp_path / "kept", python),
    )
    (tmp_path / "m" / "code").mkdir(parents=True)
    (tmp_path / "m" / "code" / "requirements.txt").write_text("toys")
    with pytest.raises(LoadFailed, match=r"brings a requirements\.txt, and .* refuses") as raised:
        await pools.load(ModelSpec("m", tmp_path / "m", TOOLKIT), 10.0)
    assert raised.value.status == 403
    assert not (tmp_path / "kept").exists()
    await pools.close()
