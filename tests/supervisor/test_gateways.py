"""What the supervisor gives to gateways: names, sockets, memory."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from modelplex.settings import Settings
from modelplex.supervisor import gateways
from modelplex.supervisor.gateways import Shared


def settings(count: int) -> Settings:
    return Settings(data=Path("/data"), gateways=count)


def test_one_keeps_its_name_and_shares_nothing() -> None:
    """No number, one socket, no board."""
    shared = Shared("127.0.0.1", 0, 1)
    specs = gateways.specs(settings(1), shared)
    assert list(specs) == ["gateway"]
    assert specs["gateway"].descriptors == shared.listeners(0)
    assert "--board" not in specs["gateway"].argv
    shared.close()


def test_several_have_a_socket_each_and_the_memory_of_all() -> None:
    """Each finds its own socket first and those of its siblings behind it."""
    shared = Shared("127.0.0.1", 0, 3)
    specs = gateways.specs(settings(3), shared)
    assert list(specs) == ["gateway-1", "gateway-2", "gateway-3"]
    firsts = [spec.descriptors[0] for spec in specs.values()]
    for spec in specs.values():
        *sockets, board = spec.descriptors
        assert sorted(sockets) == sorted(firsts)
        assert spec.argv[-1] == str(board)
        assert spec.argv[spec.argv.index("--listeners") + 1] == ",".join(map(str, sockets))
        assert os.fstat(board).st_size == gateways.BOARD_BYTES
    shared.close()


def test_the_port_is_taken_until_it_is_closed() -> None:
    """From the start on: before a gateway runs, connections wait instead of being refused."""
    shared = Shared("127.0.0.1", 0, 2)
    port = shared.port
    socket.create_connection(("127.0.0.1", port), 1).close()
    shared.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1)


def test_there_is_always_one() -> None:
    """However few cores there are."""
    assert gateways.automatic() >= 1
    assert len(gateways.names(gateways.automatic())) == gateways.automatic()
