"""Control as the process that the supervisor starts."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modelplex.http.client import Client
from modelplex.http.messages import Request, Response
from modelplex.http.server import serve
from modelplex.settings import Settings
from tests.control.world import make_image


@pytest.fixture
async def data() -> AsyncIterator[Path]:
    """A data folder as `up` prepares it, and a supervisor that runs nothing."""
    with tempfile.TemporaryDirectory(prefix="mp-") as folder:
        data = Path(folder)
        (data / "run").mkdir()
        settings = Settings(data, memory_mib=1024, disk_mib=1024)
        (data / "settings.json").write_text(json.dumps(settings.as_document()))
        make_image(data)
        supervisor = await serve(_supervise, f"unix:{data / 'run' / 'supervisor.sock'}")
        yield data
        await supervisor.close(0.0)


async def _supervise(request: Request) -> Response:
    if b"after=1" in request.query:
        await asyncio.sleep(3600)
    return Response(200, [], b'{"version": 1, "processes": {}}')


async def start(data: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "modelplex.control", "--data", str(data), stderr=sys.stderr
    )


async def ask(data: Path, operation: str, document: object) -> tuple[int, object]:
    """One call of SageMaker, tried until control listens."""
    client = Client(f"unix:{data / 'run' / 'control.sock'}")
    headers = [(b"x-amz-target", f"SageMaker.{operation}".encode())]
    body = json.dumps(document).encode()
    try:
        async with asyncio.timeout(60):
            while True:
                try:
                    answer = await client.request("POST", b"/aws/sagemaker", headers, body)
                    return answer.status, json.loads(await answer.read(2**20))
                except OSError:
                    await asyncio.sleep(0.05)
    finally:
        await client.close()


async def test_what_was_answered_is_there_after_a_kill_and_a_restart(data: Path) -> None:
    """SIGKILL takes nothing back; SIGTERM ends it cleanly and removes its socket."""
    model = {
        "ModelName": "m",
        "PrimaryContainer": {"Image": "echo", "ModelDataUrl": "s3://bucket/m.tar.gz"},
    }
    first = await start(data)
    try:
        assert (await ask(data, "CreateModel", model))[0] == 200
    finally:
        first.kill()
        await first.wait()
    second = await start(data)
    try:
        status, answer = await ask(data, "DescribeModel", {"ModelName": "m"})
        assert status == 200
        assert isinstance(answer, dict)
        assert answer["PrimaryContainer"] == model["PrimaryContainer"]
        client = Client(f"unix:{data / 'run' / 'control.sock'}")
        assert (await client.json("GET", "/snapshot"))[1]["endpoints"] == {}
        assert (await client.json("GET", "/nothing"))[0] == 404
        await client.close()
    finally:
        second.send_signal(signal.SIGTERM)
        assert await second.wait() == 0
    assert not (data / "run" / "control.sock").exists()
