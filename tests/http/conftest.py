"""Servers for HTTP tests; every test runs on uvloop, as production does, and on asyncio's loop."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from modelplex.http.client import Client, ClientLimits
from modelplex.http.messages import Handler, Request, Response
from modelplex.http.server import Express, Server, ServerLimits, serve

Start = Callable[..., Awaitable[Server]]
Connect = Callable[..., Client]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Both loops."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture
async def echo() -> Handler:
    """Answers with the request's body."""

    async def handle(request: Request) -> Response:
        return Response(200, [], await request.body.read(100 * 1024 * 1024))

    return handle


@pytest.fixture
async def address(tmp_path: Path) -> str:
    """A Unix socket's address."""
    return f"unix:{tmp_path / 's.sock'}"


@pytest.fixture
async def start(address: str) -> AsyncIterator[Start]:
    """start(handler, express=, tls=, **limits): a server at `address`, closed in the end."""
    servers: list[Server] = []

    async def start(
        handler: Handler,
        at: str = "",
        express: Express | None = None,
        tls: ssl.SSLContext | None = None,
        **limits: float,
    ) -> Server:
        bounds = ServerLimits(**limits)  # type: ignore[arg-type]
        server = await serve(handler, at or address, bounds, express=express, tls=tls)
        servers.append(server)
        return server

    yield start
    for server in servers:
        await server.close(0)


@pytest.fixture
async def connect(address: str) -> AsyncIterator[Connect]:
    """connect(**limits): a client of `address`, closed in the end."""
    clients: list[Client] = []

    def connect(at: str = "", **limits: float) -> Client:
        client = Client(at or address, ClientLimits(**limits))  # type: ignore[arg-type]
        clients.append(client)
        return client

    yield connect
    for client in clients:
        await client.close()
