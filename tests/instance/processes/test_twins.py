"""Byte-identical models in shared memory."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from modelplex.instance.processes.twins import Twins
from modelplex.workers.errors import LoadFailed, OutOfMemory
from modelplex.workers.image import ImageSpec
from modelplex.workers.limits import PoolLimits
from modelplex.workers.model import ModelSpec
from modelplex.workers.pools import Pools
from modelplex.workers.process import private_bytes, pss_bytes
from modelplex.workers.worker import Invocation, Worker
from tests.instance.conftest import StartInstance
from tests.support.models import make_archive, make_image
from tests.support.waiting import eventually

MIB = 1024 * 1024

# It loads as the file "how" says.
HANDLER = """
import json, os, threading, time

class Handler:
    def initialize(self, context):
        how = open("how").read() if os.path.exists("how") else ""
        self.weights = open("weights", "rb").read()
        if how == "name":
            self.name = context.model_name
        elif how == "write":
            open("cache", "w").close()
        elif how == "thread":
            threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        elif how == "memory":
            raise MemoryError
        self.loader = os.getpid()

    def handle(self, data, context):
        folder = context.system_properties["model_dir"]
        facts = {"name": context.model_name, "sum": sum(self.weights[::65536]), "pid": os.getpid(),
                 "forked": self.loader != os.getpid(), "home": [folder, os.getcwd()]}
        return [json.dumps(facts)]

it = Handler()
def handle(data, context):
    return it.initialize(context) if data is None else it.handle(data, context)
"""


@dataclass
class Stage:
    """Twins over real pools, and what residents would know."""

    root: Path
    pools: Pools
    answering: dict[str, Worker] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.twins = Twins(self.pools, lambda content: self.root / content, self.swap)

    def swap(self, old: Worker, new: Worker) -> bool:
        """As residents do it, for workers that owe no answer."""
        name = next((n for n, worker in self.answering.items() if worker is old), None)
        if name is not None:
            self.answering[name] = new
            self.ended = old._loop.create_task(old.unload())
        return name is not None

    def content(self, name: str, weights: bytes, how: str = "") -> str:
        """The files of an archive; sealed, as `places.py` seals them."""
        folder = self.root / name
        folder.mkdir()
        (folder / "weights").write_bytes(weights)
        (folder / "how").write_text(how)
        folder.chmod(0o555)
        return name

    def spec(self, name: str, content: str) -> ModelSpec:
        """A model with these files."""
        folder = self.root / f"models-{name}"
        folder.mkdir(exist_ok=True)
        for file in ("weights", "how"):
            if not (folder / file).exists():
                os.link(self.root / content / file, folder / file)
        return ModelSpec(name, folder, limit_bytes=300 * MIB)

    async def load(self, name: str, content: str) -> Worker:
        """Has it loaded, and answering from then on."""
        worker = await self.twins.load(self.spec(name, content), content, 60.0)
        self.answering[name] = worker
        return worker

    async def ask(self, name: str) -> dict[str, Any]:
        """One answer."""
        answer = await self.answering[name].invoke(Invocation([], b""), 60.0)
        assert not answer.failure, answer
        return dict(json.loads(bytes(answer.body)))


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """With an image whose handler keeps its weights."""
    image = ImageSpec(make_image(tmp_path / "image", HANDLER), Path(sys.executable), "")
    image = ImageSpec(image.folder, image.python, "model_handler.py:handle")
    pools = Pools(image, {}, lambda *_: None, PoolLimits(obey_permissions=True))
    stage = Stage(tmp_path, pools)
    await pools.start()
    yield stage
    stage.twins.close()
    await pools.close()


def pss(workers: list[Worker]) -> int:
    return sum(pss_bytes(worker.pid) for worker in workers)


async def test_ten_copies_cost_about_one(stage: Stage) -> None:
    """In memory as the machine sees it; each answers under its own name, and goes by itself."""
    weights = os.urandom(MIB) * 50
    content = stage.content("content", weights)
    names = [f"copy{n}" for n in range(10)]
    first = await stage.load(names[0], content)
    alone = first.memory_bytes()
    assert alone > 50 * MIB
    assert stage.twins.share_bytes(first) == 0
    for name in names[1:]:
        await stage.load(name, content)
    await eventually(first.exited.done)
    for name in names:
        facts = await stage.ask(name)
        assert (facts["name"], facts["forked"]) == (name, True)
        assert facts["sum"] == sum(weights[::65536])
        assert facts["home"] == [str(stage.root / f"models-{name}")] * 2
    workers = list(stage.answering.values())
    counted = sum(worker.memory_bytes() + stage.twins.share_bytes(worker) for worker in workers)
    assert counted < 1.6 * alone
    template = workers[0]._parent._process.pid
    assert pss(workers) + pss_bytes(template) < 1.6 * alone
    for worker in workers[:-1]:
        await worker.unload()
    assert (await stage.ask(names[-1]))["sum"] == sum(weights[::65536])
    await workers[-1].unload()
    await eventually(lambda: private_bytes(template) == 0)


@pytest.mark.parametrize("how", ["name", "write", "thread"])
async def test_who_cannot_share_is_loaded_for_itself(stage: Stage, how: str) -> None:
    """The name could have made it another one, the folder is its own, threads do not survive."""
    content = stage.content("content", b"w" * 1000, how)
    for name in ("a", "b", "c"):
        await stage.load(name, content)
    assert [(await stage.ask(name))["forked"] for name in ("a", "b", "c")] == [False] * 3


async def test_concurrent_loads_share_as_well(stage: Stage) -> None:
    """Whoever is first, one template is made, and in the end all are forked from it."""
    content = stage.content("content", b"w" * 1000)
    names = [f"copy{n}" for n in range(5)]
    await asyncio.gather(*(stage.load(name, content) for name in names))
    await stage.load("last", content)
    parents = set()
    for name in (*names, "last"):
        await eventually(lambda name=name: stage.twins._forked.get(stage.answering[name]))  # type: ignore[misc]
        assert (await stage.ask(name))["name"] == name
        parents.add(stage.answering[name]._parent)
    assert len(parents) == 1


async def test_a_template_that_dies_leaves_its_forks_alone(stage: Stage) -> None:
    """They go on, and the next twin gets another template."""
    content = stage.content("content", b"w" * 1000)
    for name in ("a", "b"):
        await stage.load(name, content)
    forker = stage.answering["b"]._parent
    os.kill(forker._process.pid, 9)
    await forker._process.exited
    assert stage.twins.share_bytes(stage.answering["b"]) == 0
    assert (await stage.ask("b"))["name"] == "b"
    await stage.load("c", content)
    assert (await stage.ask("c"))["forked"]


async def test_failures_are_those_of_any_load(stage: Stage) -> None:
    """A lack of memory is one, also for the template; and so is a load that takes too long."""
    content = stage.content("content", b"w" * 1000)
    await stage.load("a", content)
    (stage.root / content / "how").chmod(0o644)
    os.unlink(stage.root / "models-a" / "how")
    (stage.root / content / "how").write_text("memory")
    with pytest.raises(OutOfMemory):
        await stage.load("b", content)
    with pytest.raises(LoadFailed, match="did not load within 0"):
        await stage.twins.load(stage.spec("c", content), content, 0.0)


async def test_without_content_nothing_is_shared(stage: Stage) -> None:
    """An image or a setting may not want it."""
    content = stage.content("content", b"w" * 1000)
    for name in ("a", "b"):
        stage.answering[name] = await stage.twins.load(stage.spec(name, content), "", 60.0)
        assert not (await stage.ask(name))["forked"]


async def test_copies_on_an_instance(start_instance: StartInstance) -> None:
    """Counted once in memory and on the disk; all of them answer, each with its own state."""
    running = await start_instance(memory_bytes=300 * MIB).healthy()
    names = [f"copy{n}.tar.gz" for n in range(4)]
    archive = make_archive({"weights.txt": "hog 60", "ballast": bytes(5 * MIB)})
    for name in names:
        running.s3.put(running.bucket, f"models/{name}", archive)
    answers = [(await running.invoke(name)).document for name in names]
    assert [answer["answered"] for answer in answers] == [1] * 4

    async def swapped() -> bool:
        rows = (await running.report())["models"]
        return len({row["memory_bytes"] // MIB for row in rows}) == 1 and len(rows) == 4

    await running.until(swapped)
    for name in names:
        assert (await running.invoke(name)).headers["x-modelplex-start"] == "warm"
    report = await running.report()
    assert 60 * MIB < report["memory"]["used"] - report["memory"]["base"] < 110 * MIB
    assert 5 * MIB < report["disk"]["used"] < 6 * MIB
    assert "unloaded" not in report["counters"]
