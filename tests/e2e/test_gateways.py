"""Two gateways on one port: both serve, and each can be killed or hang amid traffic."""

from __future__ import annotations

import asyncio
import os
import signal
import socket

import pytest

from modelplex.http.client import Client
from tests.conftest import SMALL, StartPlatform
from tests.e2e.traffic import CLIENTS, traffic
from tests.support.models import make_archive, make_image
from tests.support.platform import Deployed, Platform
from tests.support.processes import eventually

pytestmark = pytest.mark.e2e

MODELS = [f"m{n}.tar.gz" for n in range(3)]
NAMES = ["gateway-1", "gateway-2"]


@pytest.fixture
def deployed(start_platform: StartPlatform) -> Deployed:
    """Two instances over three echo models behind two gateways."""
    platform = start_platform(*SMALL, "--gateways", "2")
    source = make_image(platform.data.with_name("image"))
    platform.cli("build", "-t", "echo", str(source))
    archives = {model: make_archive({"weights.txt": model}) for model in MODELS}
    return platform.deploy(archives, image="echo", instances=2)


def gateways(platform: Platform) -> dict[str, int]:
    """Process ids by name, 0 for one that does not run."""
    rows = platform.get("/modelplex/status")["processes"]
    return {name: rows[name]["pid"] or 0 for name in rows if name.startswith("gateway")}


def is_ready(platform: Platform, name: str) -> bool:
    """Whether that gateway knows the endpoints, by its own door."""

    async def ask() -> bool:
        client = Client(f"unix:{platform.data}/run/{name}.sock")
        try:
            return (await client.json("GET", "/ping"))[0] == 200
        except OSError:
            return False
        finally:
            await client.close()

    return asyncio.run(ask())


def pings(platform: Platform, count: int) -> int:
    """How many of so many connections, all opened before the first is used, are answered."""
    opened = [socket.create_connection(("127.0.0.1", platform.port), 20) for _ in range(count)]
    for each in opened:
        each.sendall(b"GET /ping HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
    good = 0
    for each in opened:
        with each:
            good += each.recv(100).startswith(b"HTTP/1.1 200")
    return good


def test_a_killed_gateway_costs_what_it_was_answering_and_a_hanging_one_nothing_new(
    deployed: Deployed,
) -> None:
    """New connections are all served, each model is in one place, and the dead one comes back."""
    platform = deployed.platform
    before = gateways(platform)
    assert sorted(before) == NAMES
    with traffic(deployed, MODELS) as seen:
        eventually(lambda: seen.total >= 60, 60.0, f"{seen}")
        os.kill(before["gateway-1"], signal.SIGKILL)
        assert pings(platform, 12) == 12
        wanted = seen.total + 60
        eventually(lambda: seen.total >= wanted, 60.0, f"{seen}")
    assert not seen.wrong
    assert seen.failures.total() <= CLIENTS, seen.details  # a request of each may have been there
    assert set(seen.failures) <= {"ConnectionClosedError"}, seen.details
    eventually(lambda: is_ready(platform, "gateway-1"), 30.0)
    assert gateways(platform)["gateway-1"] != before["gateway-1"]
    rows = platform.get(f"/modelplex/endpoints/{deployed.name}/models")["models"]
    assert sorted(row["model"] for row in rows) == MODELS  # none of them on both instances
    os.kill(before["gateway-2"], signal.SIGSTOP)
    try:
        assert pings(platform, 12) == 12
    finally:
        os.kill(before["gateway-2"], signal.SIGCONT)
