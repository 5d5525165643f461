"""Stand-ins for Models and Journal that live in memory, so that the HTTP face is tested alone."""

from __future__ import annotations

import asyncio
import bisect
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from modelplex.http.client import Client, ClientResponse
from modelplex.http.messages import Request
from modelplex.http.server import ServerLimits, serve
from modelplex.server.api import cors
from modelplex.server.api.answers import Envelope
from modelplex.server.api.inference import Inference
from modelplex.server.api.management import Management
from modelplex.server.api.routes import Routes
from modelplex.server.config import Config
from modelplex.server.errors import Conflict, ModelNotFound, ServerError
from modelplex.server.serving.models import Health, Order, Registered, State
from modelplex.server.serving.staff import WorkerRow
from modelplex.workers.invocations import Answer, Invocation

Outcome = Answer | ServerError


def echo(invocation: Invocation) -> Outcome:
    """The body, as a handler that sets no content type returns it."""
    return Answer(200, "", [], bytes(invocation.body))


@dataclass
class TwinModel:
    """A model that answers by a function."""

    name: str
    url: str = "/store/model"
    answer: Callable[[Invocation], Outcome] = echo
    version: str = "1.0"
    engine: str = ""
    runtime: str = "python"
    state: State = State.READY
    min_workers: int = 1
    max_workers: int = 1
    batch_size: int = 1
    max_batch_delay_s: float = 0.1
    at_startup: bool = False
    workers: list[WorkerRow] = field(default_factory=list)
    asked: list[Invocation] = field(default_factory=list)
    ways: list[str] = field(default_factory=list)  # "express" or "ordinary", of each
    late: bool = False  # answers in a later turn of the event loop

    def rows(self) -> list[WorkerRow]:
        return self.workers

    def submit(self, invocation: Invocation, done: Callable[[Outcome], None], gone: Any) -> None:
        self.asked.append(invocation)
        self.ways.append("express")
        assert gone() is False
        if self.late:
            asyncio.get_running_loop().call_soon(done, self.answer(invocation))
        else:
            done(self.answer(invocation))

    async def invoke(self, invocation: Invocation) -> Answer:
        self.asked.append(invocation)
        self.ways.append("ordinary")
        outcome = self.answer(invocation)
        if isinstance(outcome, ServerError):
            raise outcome
        return outcome


class TwinModels:
    """A registry that starts nothing."""

    def __init__(self) -> None:
        self.models: dict[str, TwinModel] = {}
        self.version = 0
        self.state: Any = "scaled"  # of what is registered and scaled
        self.orders: list[Order] = []
        self.scaled: list[tuple[str, int, int | None, bool]] = []
        self.state_of_health = Health.HEALTHY
        self.failure: Exception | None = None

    def add(self, model: TwinModel) -> TwinModel:
        self.models[model.name] = model
        self.version += 1
        return model

    async def register(self, order: Order) -> Registered:
        if self.failure is not None:
            raise self.failure
        name = order.model_name or "manifest"
        if name in self.models:
            raise Conflict(f"Model {name} is already registered.")
        self.orders.append(order)
        self.add(TwinModel(name, order.url))
        return Registered(name, self.state)

    async def scale(self, name: str, least: int, most: int | None, synchronous: bool) -> Registered:
        self.find(name)
        self.scaled.append((name, least, most, synchronous))
        return Registered(name, self.state)

    async def unregister(self, name: str) -> None:
        self.find(name)
        del self.models[name]
        self.version += 1

    def find(self, name: str) -> TwinModel:
        try:
            return self.models[name]
        except KeyError:
            raise ModelNotFound(f"Model not found: {name}") from None

    def page(self, limit: int, after: str) -> tuple[list[TwinModel], str]:
        names = sorted(self.models)
        start = bisect.bisect_right(names, after) if after else 0
        page = names[start : start + limit]
        more = start + limit < len(names)
        return [self.models[name] for name in page], page[-1] if more else ""

    def only(self) -> TwinModel | None:
        found = [model for model in self.models.values() if model.at_startup]
        return found[0] if len(found) == 1 else None

    def health(self) -> Health:
        return self.state_of_health


class TwinJournal:
    """A journal that keeps what it is told."""

    def __init__(self) -> None:
        self.accesses: list[tuple[str, bytes, int]] = []
        self.predictions: list[tuple[str, bytes, int]] = []

    def access(self, peer: str, method: str, target: bytes, status: int, took_s: float) -> None:
        assert peer
        assert took_s >= 0
        self.accesses.append((method, target, status))

    def predicted(self, model: str, request_id: bytes, took_s: float, status: int) -> None:
        assert took_s >= 0
        self.predictions.append((model, request_id, status))

    def served(
        self, request: Request, model: str, identity: bytes, took_s: float, status: int
    ) -> None:
        self.access(request.peer, request.method, request.target, status, took_s)
        self.predicted(model, identity, took_s, status)

    def prometheus(self, models: Any) -> bytes:
        return b"modelplex_server_models %d\n" % len(models.models)


@dataclass
class World:
    """A listener over twins, and a client of it."""

    models: TwinModels
    journal: TwinJournal
    client: Client
    port: int

    async def ask(
        self,
        method: str,
        target: str,
        body: Any = b"",
        headers: list[tuple[bytes, bytes]] | None = None,
    ) -> ClientResponse:
        return await self.client.request(method, target.encode(), headers or [], body)

    async def status_line(self, method: str, target: str) -> str:
        """The first line of an answer, as it was sent."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"{method} {target} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n".encode())
        line = await asyncio.wait_for(reader.readline(), 30)
        writer.close()
        await writer.wait_closed()
        return line.decode().rstrip("\r\n")

    async def read(self, *args: Any, **more: Any) -> tuple[int, bytes]:
        """Status and body."""
        response = await self.ask(*args, **more)
        return response.status, await response.read(10_000_000)


@contextlib.asynccontextmanager
async def world(
    *, inference: bool = True, management: bool = True, **settings: Any
) -> AsyncIterator[World]:
    """A listener with the given APIs, on a free port of loopback."""
    config = Config(**settings)
    models, journal = TwinModels(), TwinJournal()
    envelope = Envelope(cors.headers(config))
    some: Any = models  # a twin has no common class with what it stands for
    noted: Any = journal
    served = Inference(some, noted, envelope, config.max_request_size)
    managed = Management(some, config.max_request_size)
    routes = Routes(
        some, noted, envelope, served if inference else None, managed if management else None
    )
    server = await serve(
        routes,
        "tcp:127.0.0.1:0",
        ServerLimits(),
        express=served.express if inference else None,
    )
    assert server.port is not None
    client = Client(f"tcp:127.0.0.1:{server.port}")
    try:
        yield World(models, journal, client, server.port)
    finally:
        await client.close()
        await server.close(1.0)
