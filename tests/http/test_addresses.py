"""Addresses: what may be written, and what becomes of socket files."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from modelplex.http.addresses import parse_address
from modelplex.http.messages import Handler
from tests.http.conftest import Connect, Start


async def test_long_socket_paths_work(
    start: Start, connect: Connect, echo: Handler, tmp_path: Path
) -> None:
    """Paths beyond the 107 bytes of a socket address can be bound and connected to."""
    folder = tmp_path / ("d" * 100) / ("e" * 100)
    folder.mkdir(parents=True)
    address = f"unix:{folder / 'long.sock'}"
    server = await start(echo, address)
    response = await connect(address).request("POST", b"/", [], b"hi")
    assert await response.read(2) == b"hi"
    await server.close(0)
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    "text", ["", "unix:", "tcp:host", "tcp:host:x", "tcp::1", "http://x", "tcp:h:70000"]
)
def test_bad_addresses_are_refused(text: str) -> None:
    """With the forms that are right."""
    with pytest.raises(ValueError, match="tcp:host:port"):
        parse_address(text)


async def test_a_socket_file_is_private_and_goes_with_its_server(
    start: Start, address: str, echo: Handler
) -> None:
    """Mode 0600; a stale one is replaced, one in use is not, and close removes its own."""
    path = Path(address.removeprefix("unix:"))
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    server = await start(echo)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600  # noqa: ASYNC240
    with pytest.raises(OSError, match="another process listens"):
        await start(echo)
    await server.close(0)
    assert not path.exists()  # noqa: ASYNC240


async def test_a_file_is_never_replaced_by_a_socket(
    start: Start, address: str, echo: Handler
) -> None:
    """What is no socket stays."""
    path = Path(address.removeprefix("unix:"))
    path.write_text("precious")  # noqa: ASYNC240
    with pytest.raises(OSError, match="no socket"):
        await start(echo)
    assert path.read_text() == "precious"  # noqa: ASYNC240
