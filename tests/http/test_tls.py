"""HTTPS: the same server behind TLS, and what is not TLS at all."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from modelplex.http.messages import Data, Handler, Request
from modelplex.http.server import Express, Reply, Server
from tests.http.conftest import Start
from tests.http.test_server import GET, post

AT = "tcp:127.0.0.1:0"
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A server's context with a certificate of its own."""
    folder = tmp_path_factory.mktemp("tls")
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost"
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run([*make.split(), *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def give_back(_: Request, body: Data, reply: Reply) -> None:
    """A receiver that answers at once with the body."""
    reply.send(200, b"", body)


@asynccontextmanager
async def talking(
    server: Server, secure: bool = True
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to the server; one that is `secure` trusts anybody."""
    context = None
    if secure:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2", "http/1.1"])
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        await asyncio.sleep(0.01)


async def answer(reader: asyncio.StreamReader) -> bytes:
    """The body of an answer with a Content-Length."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    return await asyncio.wait_for(reader.readexactly(length), 30)


@pytest.mark.parametrize("express", [None, lambda _: give_back])
async def test_bodies_come_back(
    start: Start, echo: Handler, tls: ssl.SSLContext, express: Express | None
) -> None:
    """Small and large, both ways; HTTP/1.1 is what is agreed on."""
    server = await start(echo, AT, express, tls)
    async with talking(server) as (reader, writer):
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        for size in (0, 100, 5 * MIB, 200_000, 1):
            body = os.urandom(size)
            writer.write(post(body))
            assert await answer(reader) == body
        writer.write(post(b"abc", b"Connection: close"))
        assert await answer(reader) == b"abc"
        assert await asyncio.wait_for(reader.read(), 30) == b""


async def test_what_is_not_tls_is_dropped(
    start: Start, echo: Handler, tls: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    """Plain HTTP, and noise: no answer, one line in the log, nobody else disturbed."""
    caplog.set_level(logging.INFO)
    server = await start(echo, AT, None, tls)
    for data in (GET, os.urandom(100)):
        async with talking(server, secure=False) as (reader, writer):
            writer.write(data)
            try:
                rest = await asyncio.wait_for(reader.read(), 30)
            except ConnectionResetError:
                rest = b""
            assert b"HTTP/" not in rest
    async with talking(server) as (reader, writer):
        writer.write(post(b"abc"))
        assert await answer(reader) == b"abc"
    assert [r.message for r in caplog.records].count("http.accept_failed") == 2


async def test_a_handshake_that_does_not_end_is_dropped(
    start: Start, echo: Handler, tls: ssl.SSLContext
) -> None:
    """A client that connects and says nothing; while others are served."""
    server = await start(echo, AT, None, tls, handshake_timeout_s=0.1, connections_max=1)
    async with talking(server, secure=False) as (reader, _):
        assert await asyncio.wait_for(reader.read(), 30) == b""
    server.limits = replace(server.limits, handshake_timeout_s=30.0)
    async with talking(server) as (reader, writer):
        writer.write(post(b"abc"))
        assert await answer(reader) == b"abc"


async def test_closing_does_not_wait_for_a_handshake(
    start: Start, echo: Handler, tls: ssl.SSLContext
) -> None:
    """It is cut off, an idle connection is closed."""
    server = await start(echo, AT, None, tls)
    async with talking(server) as (idle, _), talking(server, secure=False) as (silent, _):
        await asyncio.sleep(0.05)
        await asyncio.wait_for(server.close(20), 10)
        assert await asyncio.wait_for(idle.read(), 30) == b""
        assert await asyncio.wait_for(silent.read(), 30) == b""
