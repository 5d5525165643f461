"""Pools of real processes over handlers written by the test, and proof that none is left behind."""

from __future__ import annotations

import asyncio
import sys
import textwrap
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from modelplex.workers.image import ImageSpec
from modelplex.workers.limits import PoolLimits
from modelplex.workers.model import ModelSpec
from modelplex.workers.pool import Pool
from modelplex.workers.template import Template
from modelplex.workers.worker import Answer, Invocation, Worker
from tests.support.processes import living
from tests.support.waiting import eventually

MIB = 1024 * 1024
ECHO = """
def handle(data, context):
    return None if data is None else [bytes(data[0]["body"])]
"""


@dataclass
class Stage:
    """A started pool, with shorthands."""

    root: Path
    pool: Pool
    image: ImageSpec
    lines: list[tuple[str, str]]
    environment: dict[str, str]
    folders: dict[str, Path] = field(default_factory=dict)

    def model(self, name: str, files: dict[str, str] | None = None) -> Path:
        """A model folder with these files."""
        folder = self.root / "models" / name
        folder.mkdir(parents=True)
        write_files(folder, files or {})
        self.folders[name] = folder
        return folder

    async def load(self, name: str = "m", timeout_s: float = 60.0, **facts: Any) -> Worker:
        """Loads a model, whose folder is made if the test has not."""
        return await self.pool.load(self.spec(name, **facts), timeout_s)

    async def load_template(self, name: str = "m", **facts: Any) -> Template:
        """The same, as a template."""
        return await self.pool.load_template(self.spec(name, **facts), 60.0)

    def spec(self, name: str, limit_bytes: int = 512 * MIB, **facts: Any) -> ModelSpec:
        """A model's specification."""
        if name not in self.folders:
            self.model(name)
        return ModelSpec(name, self.folders[name], limit_bytes=limit_bytes, **facts)

    def printed(self, name: str = "m") -> list[str]:
        """What the model has printed so far."""
        return [line for model, line in self.lines if model == name]


def write_files(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))


async def ask(
    worker: Worker,
    body: bytes = b"",
    timeout_s: float = 60.0,
    query: bytes = b"",
    request_id: bytes = b"",
    **headers: str,
) -> Answer:
    """One invocation; header names with _ for -."""
    pairs = [(n.replace("_", "-").lower().encode(), v.encode()) for n, v in headers.items()]
    return await worker.invoke(Invocation(pairs, body, query, request_id), timeout_s)


class Gate:
    """Code for a handler that says that it has begun, and goes on when the test says so."""

    def __init__(self, folder: Path) -> None:
        self._begun, self._open = folder / "begun", folder / "open"
        self.code = (
            f"open({str(self._begun)!r}, 'w').close()\n"
            f"while not os.path.exists({str(self._open)!r}): time.sleep(0.005)"
        ).encode()

    async def reached(self) -> None:
        """The handler has begun."""
        await eventually(self._begun.exists)

    async def open(self) -> None:
        """It may go on, once the event loop has done whatever was due."""
        for _ in range(3):
            await asyncio.sleep(0)
        self._open.touch()


MakeStage = Callable[..., Awaitable[Stage]]


@pytest.fixture
def tools() -> type[Tools]:
    return Tools


class Tools:
    """The functions above, for tests: modules of tests cannot import each other."""

    ask = staticmethod(ask)
    eventually = staticmethod(eventually)
    gate = Gate
    living = staticmethod(living)
    write_files = staticmethod(write_files)


@pytest.fixture
async def make_stage(tmp_path: Path) -> AsyncIterator[MakeStage]:
    """Makes pools; at the end they are closed, and no process of theirs may be alive."""
    stages: list[Stage] = []
    mark = f"MODELPLEX_TEST={uuid.uuid4().hex}"

    async def make(  # noqa: PLR0917  all by name
        source: str = ECHO,
        handler: str = "model_handler.py:handle",
        files: dict[str, str] | None = None,
        environment: dict[str, str] | None = None,
        limits: PoolLimits | None = None,
        learned: Path | None = None,
        preload: tuple[str, ...] = (),
        python: str = sys.executable,
        start: bool = True,
        prepare: str = "",
    ) -> Stage:
        root = tmp_path / f"stage{len(stages)}"
        folder = root / "image"
        folder.mkdir(parents=True)
        write_files(folder, {"model_handler.py": source, **(files or {})})
        image = ImageSpec(folder, Path(python), handler, preload, prepare)
        lines: list[tuple[str, str]] = []
        name, _, value = mark.partition("=")
        given = {name: value, **(environment or {})}
        pool = Pool(image, given, lambda *line: lines.append(line), limits, learned)
        stage = Stage(root, pool, image, lines, given)
        stages.append(stage)
        if start:
            await pool.start()
        return stage

    yield make
    for stage in stages:
        await stage.pool.close()
    await eventually(lambda: not living(mark))
