"""One port, several processes: who gets a connection, and what becomes of a dead one's."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter

import pytest

from modelplex.http.addresses import listen_shared
from modelplex.http.client import Client
from modelplex.http.messages import Handler, Request, Response
from modelplex.http.reading import ServerLimits
from modelplex.http.server import serve_on

IMPATIENT = ServerLimits(write_timeout_s=0.4)  # so it looks after its siblings every 0.02 s


def naming(name: str) -> Handler:
    async def handler(_request: Request) -> Response:
        return Response(200, [], name.encode())

    return handler


async def ask(port: int, count: int) -> Counter[bytes]:
    """Who answered on so many connections, opened at once."""

    async def one() -> bytes:
        client = Client(f"tcp:127.0.0.1:{port}")
        try:
            response = await client.request("GET", b"/", [], timeout_s=10)
            return await response.read(100)
        finally:
            await client.close()

    return Counter(await asyncio.gather(*[one() for _ in range(count)]))


async def test_all_servers_get_connections() -> None:
    """The kernel deals them out by chance, to each its share."""
    sockets = listen_shared("127.0.0.1", 0, 2)
    port = sockets[0].getsockname()[1]
    servers = [serve_on(naming(f"{n}"), [sockets[n]], IMPATIENT) for n in range(2)]
    seen = await ask(port, 80)
    assert seen.total() == 80
    assert min(seen[b"0"], seen[b"1"]) > 10
    for server in servers:
        await server.close(1)


async def test_what_waits_for_a_dead_server_is_answered_by_its_sibling() -> None:
    """Its socket is still open somewhere, so nothing is refused and nothing is lost."""
    sockets = listen_shared("127.0.0.1", 0, 3)
    server = serve_on(naming("alive"), sockets, IMPATIENT)
    assert await ask(server.port or 0, 40) == {b"alive": 40}
    await server.close(1)
    assert all(each.fileno() == -1 for each in sockets)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_belongs_to_one_group(host: str) -> None:
    """A second group, or anybody else, is told that it is taken."""
    try:
        group = listen_shared(host, 0, 2)
    except OSError:
        pytest.skip(f"no {host} here")
    port = group[0].getsockname()[1]
    assert {each.getsockname()[1] for each in group} == {port}
    with pytest.raises(OSError, match="in use"):
        listen_shared(host, port, 2)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with pytest.raises(OSError, match="in use"):
        socket.create_server((host, port), family=family)
    for each in group:
        each.close()
