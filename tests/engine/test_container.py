"""Where a running container is spoken to."""

from __future__ import annotations

from typing import Any

import pytest

from modelplex.engine import EngineError
from modelplex.engine.container import address


def inspected(ports: Any, *networks: tuple[str, int]) -> dict[str, Any]:
    """What an engine says of a container in some networks."""
    rows = {str(n): {"IPAddress": ip, "IPPrefixLen": bits} for n, (ip, bits) in enumerate(networks)}
    return {"NetworkSettings": {"Ports": ports, "Networks": rows}}


def test_a_published_port_is_on_loopback() -> None:
    """At the number that the engine has chosen."""
    ports = {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "32768"}]}
    assert address(inspected(ports, ("172.17.0.2", 16))) == "tcp:127.0.0.1:32768"


def test_an_isolated_one_is_at_its_own_address() -> None:
    """If that is in a network of this machine, as 127.0.0.9 is."""
    assert address(inspected({}, ("", 0), ("127.0.0.9", 8))) == "tcp:127.0.0.9:8080"


@pytest.mark.parametrize("networks", [(), (("198.51.100.7", 30),)])
def test_requests_are_not_sent_out_of_the_machine(networks: tuple[tuple[str, int], ...]) -> None:
    """To an address that only the default route leads to."""
    with pytest.raises(EngineError, match="cannot be reached from this machine"):
        address(inspected({"8080/tcp": None}, *networks))
