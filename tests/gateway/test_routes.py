"""Where the gateway sends a model's requests, and what it learns from the replies."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from modelplex.core.routing.rendezvous import ranked, slot_of
from modelplex.gateway.app import open_door
from modelplex.http.messages import Request, Response
from modelplex.http.server import serve
from modelplex.settings import Settings
from tests.gateway.world import KEYS, FakeControl, FakeInstance, Gateway
from tests.support.waiting import eventually

IDS = ("i1", "i2", "i3")
MODELS = [f"m{number}" for number in range(60)]


@pytest.fixture
async def gateway(data: Path) -> AsyncIterator[Gateway]:
    """One that forgets loads quickly."""
    settings = Settings(
        data=data,
        access_key=KEYS.access_key,
        secret_key=KEYS.secret_key,
        placement_window_s=0.3,
        placement_hold_s=0.5,
    )
    async with open_door(settings, data) as door:
        server = await serve(door.handle, "tcp:127.0.0.1:0")
        assert server.port is not None
        yield Gateway(server.port)
        await server.close(5)


class Cluster:
    """Instances that load a model at its first request and say what it was and what it took."""

    def __init__(self) -> None:
        self.handle_ms = 1.0
        self.instances: dict[str, FakeInstance] = {}
        self.loaded: set[tuple[str, str]] = set()
        self.asked: Counter[str] = Counter()
        self.open = asyncio.Event()
        self.open.set()

    def rows(self, **changes: dict[str, Any]) -> list[dict[str, Any]]:
        """Of a snapshot; `changes` by instance."""
        return [each.row() | changes.get(name, {}) for name, each in self.instances.items()]

    def has_been_asked(self, times: int) -> bool:
        return self.asked.total() >= times

    def add(self, instance: FakeInstance) -> None:
        async def answer(request: Request) -> Response:
            model = request.header(b"x-amzn-sagemaker-target-model").decode()
            start = b"warm" if (model, instance.id) in self.loaded else b"cold"
            self.asked[instance.id] += 1
            await self.open.wait()
            self.loaded.add((model, instance.id))
            timing = b"queue;dur=0, fetch;dur=0, load;dur=0, handle;dur=%g" % self.handle_ms
            headers = [(b"x-modelplex-start", start), (b"server-timing", timing)]
            return Response(200, headers, instance.id.encode())

        instance.handler = answer
        self.instances[instance.id] = instance


@pytest.fixture
async def cluster(control: FakeControl, start: Any) -> Cluster:
    """Three instances of the endpoint `e`."""
    cluster = Cluster()
    for name in IDS:
        cluster.add(await start(name))
    control.publish("e", *cluster.rows())
    return cluster


async def ask(gateway: Gateway, model: str | None) -> str:
    """The instance that answered."""
    headers = [(b"x-amzn-sagemaker-target-model", model.encode())] if model else []
    response, body = await gateway.signed(
        "POST", "/endpoints/e/invocations", headers, b"", "sagemaker"
    )
    assert response.status == 200, body
    return body.decode()


async def publish(control: FakeControl, gateway: Gateway, *rows: dict[str, Any]) -> None:
    """A snapshot, known to the gateway when this returns: it asks for an endpoint it lacks."""
    control.publish("e", *rows)
    control.publish(f"marker{len(control.endpoints)}")
    path = f"/endpoints/marker{len(control.endpoints) - 1}/invocations"
    response, _ = await gateway.signed("POST", path, [], b"", "sagemaker")
    assert response.status == 400


def order(model: str) -> list[str]:
    return ranked(slot_of(model), IDS)


async def test_a_hot_model_spreads_to_two_of_three_and_withdraws(
    gateway: Gateway, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """About 1.1 erlangs are too much for one copy and enough for two; the log has the numbers."""
    caplog.set_level(logging.INFO, "modelplex.gateway.routes")
    cluster.handle_ms = 20.0
    first, second, _ = order("hot")
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        while not cluster.asked[second]:
            group.create_task(ask(gateway, "hot"))
            await asyncio.sleep(0.018)
    assert set(cluster.asked) == {first, second}
    cluster.handle_ms = 0.01
    async with asyncio.timeout(30):
        while len(caplog.records) < 2:
            await ask(gateway, "hot")
    assert {await ask(gateway, "hot") for _ in range(5)} == {first}
    spread, withdrew = [vars(record) for record in caplog.records]
    assert (spread["msg"], spread["copies_before"], spread["copies"]) == ("model.spread", 1, 2)
    assert (withdrew["msg"], withdrew["copies_before"], withdrew["copies"]) == (
        "model.withdrew",
        2,
        1,
    )
    assert spread["erlangs"] >= 0.7 > withdrew["erlangs"]
    assert (spread["endpoint"], spread["variant"], spread["model"]) == ("e", "AllTraffic", "hot")


async def test_a_warm_copy_is_preferred_after_a_blip(
    gateway: Gateway, cluster: Cluster, control: FakeControl
) -> None:
    """A model stays where it was answered meanwhile; one that was not asked for has not moved."""
    model, other = [m for m in MODELS if order(m)[0] == "i1"][:2]
    assert {await ask(gateway, model), await ask(gateway, other)} == {"i1"}
    await publish(control, gateway, *cluster.rows(i1={"healthy": False}))
    assert await ask(gateway, model) == order(model)[1]
    await publish(control, gateway, *cluster.rows())
    assert await ask(gateway, model) == order(model)[1]
    assert await ask(gateway, other) == "i1"


async def test_an_instance_that_dies_has_nothing_warm(
    gateway: Gateway, cluster: Cluster, start: Any
) -> None:
    """Its models' requests go on elsewhere, at once and when it is back under its old socket."""
    model = next(m for m in MODELS if order(m)[0] == "i1")
    assert await ask(gateway, model) == "i1"
    await cluster.instances["i1"].stop()
    assert await ask(gateway, model) == order(model)[1]
    await cluster.instances["i1"].start()
    assert await ask(gateway, model) == order(model)[1]


async def test_no_instance_takes_far_more_than_its_share(
    gateway: Gateway, cluster: Cluster
) -> None:
    """Cold models that all have the same first instance are spread when it has much to do."""
    cluster.open.clear()
    models = [m for m in MODELS if order(m)[0] == "i1"][:12]
    async with asyncio.TaskGroup() as group:
        for model in models:
            group.create_task(ask(gateway, model))
        await eventually(partial(cluster.has_been_asked, len(models)))
        cluster.open.set()
    assert len(models) == 12
    assert max(cluster.asked.values()) <= 12 / 3 * 1.25 + 1


async def test_a_draining_instance_is_left(
    gateway: Gateway, cluster: Cluster, control: FakeControl
) -> None:
    """Its models go to the next of their order, unless there is no other instance."""
    model = next(m for m in MODELS if order(m)[0] == "i1")
    assert await ask(gateway, model) == "i1"
    await publish(control, gateway, *cluster.rows(i1={"draining": True}))
    assert await ask(gateway, model) == order(model)[1]
    await publish(control, gateway, cluster.rows(i1={"draining": True})[0])
    assert await ask(gateway, model) == "i1"


async def test_the_only_model_is_asked_where_less_is_to_do(
    gateway: Gateway, cluster: Cluster, control: FakeControl
) -> None:
    """Of two instances, requests that wait at both are as many."""
    shape = {"name": "V", "weight": 1, "multi_model": False, "instances": cluster.rows()[:2]}
    control.publish("e", variants=[shape])
    cluster.open.clear()
    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(ask(gateway, None))
            await eventually(partial(cluster.has_been_asked, number + 1))
        cluster.open.set()
    assert cluster.asked == {"i1": 4, "i2": 4}
