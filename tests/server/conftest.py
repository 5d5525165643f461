"""A registry over real processes, with models that are small folders, and a journal in memory."""

from __future__ import annotations

import asyncio
import textwrap
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from modelplex.server.artifacts.sources import Sources
from modelplex.server.config import Config
from modelplex.server.logs.journal import Journal
from modelplex.server.serving.models import Models, Order, Registered
from modelplex.workers.invocations import Answer, Invocation
from tests.support.processes import living
from tests.support.waiting import eventually

# Bodies: "pid", "exit", "raise", "sleep S", "hold" (until the file `go` is there); or an echo.
HANDLER = """
import os
import time


def handle(data, context):
    if data is None:
        return None
    return [answer(bytes(row["body"]).decode().split()) for row in data]


def answer(words):
    match words:
        case ["pid"]:
            return str(os.getpid())
        case ["exit"]:
            os._exit(3)
        case ["raise"]:
            raise ValueError("asked to")
        case ["sleep", seconds]:
            time.sleep(float(seconds))
        case ["hold"]:
            open("held", "w").close()
            while not os.path.exists("go"):
                time.sleep(0.01)
    return " ".join(words)
"""


class Notes:
    """The part of a journal that a registry calls."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.lines: list[tuple[str, str]] = []

    def worker_loaded(self, model: str, took_s: float) -> None:
        assert took_s >= 0
        self.loads.append(model)

    def model_output(self, model: str, line: str) -> None:
        self.lines.append((model, line))


@dataclass
class Shop:
    """A registry, where its models lie, and shorthands."""

    store: Path
    models: Models
    sources: Sources
    notes: Notes
    mark: str
    config: Config
    open: bool = True

    def make(self, name: str, source: str = HANDLER) -> Path:
        """A model's folder in the store."""
        folder = self.store / name
        folder.mkdir()
        (folder / "service.py").write_text(textwrap.dedent(source))
        return folder

    async def load(self, name: str = "m", source: str = HANDLER, **order: Any) -> Registered:
        """Registers a model, whose folder is made if it is not there."""
        if not (self.store / name).exists():
            self.make(name, source)
        return await self.models.register(Order(name, name, **order))

    async def ask(self, body: str, name: str = "m") -> str:
        return (await self.answer(body, name)).body.decode()

    async def answer(self, body: str, name: str = "m") -> Answer:
        return await self.models.find(name).invoke(Invocation([], body.encode()))

    async def hold(self, name: str = "m") -> asyncio.Task[str]:
        """A request that its worker works on until `release`."""
        (self.store / name / "go").unlink(missing_ok=True)
        (self.store / name / "held").unlink(missing_ok=True)
        task = asyncio.create_task(self.ask("hold", name))
        await eventually((self.store / name / "held").exists)
        return task

    def release(self, name: str = "m") -> None:
        (self.store / name / "go").touch()

    def processes(self) -> list[int]:
        """Every process of this registry's, the zygote included."""
        return living(self.mark)

    async def close(self, drain_s: float = 10.0) -> None:
        if self.open:
            self.open = False
            await self.models.close(drain_s)
            await self.sources.close()


MakeShop = Callable[..., Awaitable[Shop]]


@pytest.fixture
async def make_shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakeShop]:
    """Makes registries, `make_shop(**settings)`; at the end no process of theirs may be alive."""
    shops: list[Shop] = []
    mark = uuid.uuid4().hex
    monkeypatch.setenv("MODELPLEX_TEST", mark)

    async def make(*, start: bool = True, **settings: Any) -> Shop:
        root = tmp_path / f"shop{len(shops)}"
        store = root / "store"
        store.mkdir(parents=True)
        given = {
            "model_store": store,
            "work_folder": root / "work",
            "default_service_handler": "service.py:handle",
            "default_workers_per_model": 1,
            "decode_input_request": False,
            "restart_delay_max_s": 0.5,
        }
        config = Config(**{**given, **settings})
        sources, notes = Sources(config), Notes()
        models = Models(config, sources, cast(Journal, notes))
        shop = Shop(store, models, sources, notes, mark, config)
        shops.append(shop)
        if start:
            await models.start()
        return shop

    yield make
    for shop in shops:
        await shop.close()
    await eventually(lambda: not living(mark))


@pytest.fixture
async def shop(make_shop: MakeShop) -> Shop:
    """One registry with the usual settings."""
    return await make_shop()
