"""A gateway in the test's own event loop, real boto3 clients, and the servers behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from modelplex.gateway.app import open_door
from modelplex.gateway.door import Door
from modelplex.http.messages import Handler
from modelplex.http.server import serve
from modelplex.settings import Settings
from tests.gateway.world import KEYS, FakeControl, FakeInstance, Gateway


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the gateway runs on in production."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with an empty run/."""
    (tmp_path / "run").mkdir()
    return tmp_path


@pytest.fixture
async def control(data: Path) -> AsyncIterator[FakeControl]:
    """A control that remembers what it was asked and publishes what the test tells it to."""
    control = FakeControl(data / "run" / "control.sock")
    await control.start()
    yield control
    await control.stop()


@pytest.fixture
async def door(data: Path) -> AsyncIterator[Door]:
    """The parts of that data folder's gateway, with embedded S3 and small limits."""
    settings = Settings(
        data=data,
        access_key=KEYS.access_key,
        secret_key=KEYS.secret_key,
        body_bytes_max=100_000,
        control_body_bytes_max=10_000,
    )
    async with open_door(settings, data) as door:
        yield door


@pytest.fixture
async def gateway(door: Door) -> AsyncIterator[Gateway]:
    """The gateway, on a port."""
    server = await serve(door.handle, "tcp:127.0.0.1:0", express=door.express)
    assert server.port is not None
    yield Gateway(server.port)
    await server.close(5)


@pytest.fixture
async def start(data: Path) -> AsyncIterator[Callable[..., Any]]:
    """start(id, handler): a fake instance on its socket; all are stopped in the end."""
    instances: list[FakeInstance] = []

    async def start(name: str, handler: Handler | None = None) -> FakeInstance:
        instance = FakeInstance(name, data / "run" / f"{name}.sock", handler)
        await instance.start()
        instances.append(instance)
        return instance

    yield start
    await asyncio.gather(*(instance.stop() for instance in instances))
