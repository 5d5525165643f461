"""What the gateway passes on to a store means there what it means here: nothing is smuggled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import h11
import pytest

from modelplex.aws.signatures import Signed
from modelplex.gateway.s3 import S3, EmbeddedStore
from modelplex.http.forwarding import end_to_end
from modelplex.http.messages import Request, Response
from modelplex.http.server import ServerLimits, serve
from tests.http.cases import EXPECTED, PROBE, P
from tests.http.raw import Raw

HIDING = [  # headers that a proxy must not take at their word
    P + b"Connection: content-length\r\nContent-Length: 3\r\n\r\nabc",
    P + b"Connection: content-length, x, host\r\nX: y\r\nContent-Length: 3\r\n\r\nabc",
    P + b"Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    P + b"TE: trailers\r\nTrailer: A\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\n",
    P + b"Content_Length: 30\r\nTransfer_Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
    P + b"Content-Length: 47\r\n\r\n" + b"GET /smuggled HTTP/1.1\r\nHost: x\r\nA: abcdefg\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    b"DELETE / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
]
Message = tuple[bytes, bytes, bytes]  # method, target, body


class Upstream:
    """A store that reads with h11, and keeps what it has read."""

    def __init__(self) -> None:
        self.read: list[Message] = []
        self.refused: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, kept alive."""
        connection = h11.Connection(h11.SERVER)
        try:
            while data := await reader.read(65536):
                connection.receive_data(data)
                for answer in self._answers(connection):
                    writer.write(answer)
        finally:
            writer.close()

    def _answers(self, connection: h11.Connection) -> list[bytes]:
        out = []
        try:
            while (event := connection.next_event()) is not h11.NEED_DATA:
                match event:
                    case h11.Request():
                        self._line = event.method, event.target
                        self._body = b""
                    case h11.Data():
                        self._body += event.data
                    case h11.EndOfMessage():
                        self.read.append((*self._line, self._body))
                        head = h11.Response(status_code=200, headers=[("content-length", "0")])
                        out += [connection.send(head), connection.send(h11.EndOfMessage())]
                        connection.start_next_cycle()
                    case _:
                        break
        except h11.RemoteProtocolError as error:
            self.refused.append(str(error))
        return [data for data in out if data]


@pytest.fixture
async def upstream(tmp_path: Path) -> AsyncIterator[Upstream]:
    """The store; its address lies where the gateway looks for it."""
    store = Upstream()
    server = await asyncio.start_server(store.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    (tmp_path / "s3.json").write_text(json.dumps({"address": f"tcp:127.0.0.1:{port}"}))
    yield store
    server.close()


@pytest.fixture
async def seen() -> list[Request]:
    """What the gateway's server has read."""
    return []


@pytest.fixture
async def address(upstream: Upstream, tmp_path: Path, seen: list[Request]) -> AsyncIterator[str]:
    """The gateway's server, without a door: signatures are not what this is about."""
    s3 = S3(EmbeddedStore(tmp_path / "s3.json"))
    signed = Signed("", "s3", "", "", presigned=False, payload_hash="", signed_headers=())

    async def proxy(request: Request) -> Response:
        seen.append(request)
        return await s3.proxy(request, signed)

    address = f"unix:{tmp_path / 's.sock'}"
    server = await serve(proxy, address, ServerLimits())
    yield address
    await server.close(0)
    await s3.close()


async def test_the_store_reads_what_the_gateway_has_read(
    upstream: Upstream, address: str, seen: list[Request]
) -> None:
    """As many requests as came whole, the same ones, with the same bodies; none is refused."""
    for data in [*HIDING, *[data for _, data, _ in EXPECTED if len(data) < 2000]]:
        upstream.read.clear()
        seen.clear()
        async with Raw(address) as raw:
            await raw.send(data + PROBE)
            await raw.rest()
        whole = [request for request in seen if request.body.complete]
        lines = [(request.method.encode(), request.target) for request in whole]
        assert [message[:2] for message in upstream.read] == lines, data
        assert upstream.refused == [], data
        assert all(body in data for *_, body in upstream.read)
        if data in HIDING:
            assert upstream.read[0][2] in (b"abc", b"", data[-47:])


def test_headers_of_this_hop_end_here() -> None:
    """Also those that Connection names, in any case; all others stay, in their order."""
    headers = [
        (b"host", b"h"),
        (b"connection", b"close, X-Hop"),
        (b"x-hop", b"1"),
        (b"te", b"trailers"),
        (b"transfer-encoding", b"chunked"),
        (b"upgrade", b"h2c"),
        (b"a", b"b"),
    ]
    assert end_to_end(headers) == [(b"host", b"h"), (b"a", b"b")]
