"""What is measured: a platform with one echo endpoint, the bare floor, and a load generator."""

from __future__ import annotations

import asyncio
import multiprocessing
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httptools
import uvloop
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.support.platform import Platform
from tests.support.processes import free_port, processes_of

_RATE = re.compile(rb"Requests/sec:\s+([\d.]+)")
_FAILED = re.compile(rb"Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)")


@contextmanager
def running_platform() -> Iterator[Platform]:
    """`modelplex up` in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="modelplex-bench-") as folder:
        platform = Platform(Path(folder) / "data")
        platform.start()
        try:
            yield platform
        finally:
            platform.stop()


def cpu_seconds(platform: Platform) -> dict[str, float]:
    """What the processes on a request's way have spent since they began; workers count as one."""
    spent = dict.fromkeys(("gateway", "instance", "worker"), 0.0)
    for pid, argv in processes_of(platform.data).items():
        is_worker = Path(f"/proc/{pid}/comm").read_text().startswith("mp:")
        role = "worker" if is_worker else argv.partition("-m modelplex.")[2].partition(" ")[0]
        if role in spent:
            for thread in Path(f"/proc/{pid}/task").iterdir():
                spent[role] += int((thread / "schedstat").read_text().split()[0]) / 1e9
    return spent


def signed_headers(
    platform: Platform, path: str, headers: dict[str, str], body: bytes
) -> list[str]:
    """Headers of one POST, signed once: the signature holds for five minutes of repetition."""
    request = AWSRequest("POST", platform.endpoint + path, data=body, headers=headers)
    credentials = Credentials(platform.keys["access_key"], platform.keys["secret_key"])
    SigV4Auth(credentials, "sagemaker", platform.region).add_auth(request)
    return [f"{name}: {value}" for name, value in request.headers.items()]


def wrk(url: str, headers: list[str], body: bytes, connections: int, seconds: int) -> float:
    """Answers per second by `wrk -t1`; AssertionError if any was not a success."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "body").write_bytes(body)
        script = Path(folder) / "post.lua"
        lines = ["wrk.method = 'POST'", f"wrk.body = io.open('{folder}/body', 'rb'):read('*a')"]
        for header in headers:
            name, value = header.split(": ", 1)
            lines.append(f"wrk.headers[{name!r}] = {value!r}")
        script.write_text("\n".join(lines))
        argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), url]
        output = subprocess.run(argv, capture_output=True, check=True).stdout
    rate = _RATE.search(output)
    assert rate is not None, output
    assert not _FAILED.search(output), output.decode()
    return float(rate[1])


class _Echo(asyncio.Protocol):
    """The floor: what httptools and one loop can do, with nothing of ours."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport  # uvloop's transports are not asyncio's
        self.parser = httptools.HttpRequestParser(self)
        self.body: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self.body.append(data)

    def on_message_complete(self) -> None:
        body = b"".join(self.body)
        self.body.clear()
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)


def _serve_floor(port: int) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(_Echo, "127.0.0.1", port)
        await server.serve_forever()

    uvloop.run(serve())


@contextmanager
def running_floor() -> Iterator[str]:
    """The bare echo as a process of its own; its URL."""
    port = free_port()
    process = multiprocessing.get_context("spawn").Process(target=_serve_floor, args=(port,))
    process.start()
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.join()
