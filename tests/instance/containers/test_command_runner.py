"""Commands as containers: real processes, started and ended."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from modelplex.http.client import Client
from modelplex.instance.containers.command_runner import CommandRunner
from modelplex.instance.containers.images import CommandImage
from modelplex.workers.errors import StartFailed
from modelplex.workers.limits import PoolLimits
from tests.instance.containers.fake import MIB, place
from tests.support.processes import processes_of
from tests.support.waiting import eventually

# Answers with its environment; leaves a process behind that has a session of its own.
SERVER = """
import http.server, json, os, signal, subprocess, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({**os.environ, "cwd": os.getcwd(), "argv": sys.argv[1:]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

subprocess.Popen(["sleep", "1000"], start_new_session=True)
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
port = int(os.environ["SAGEMAKER_BIND_TO_PORT"])
server = http.server.HTTPServer(("127.0.0.1", port), Handler)
print("listening", flush=True)
server.serve_forever()
"""

Make = Callable[..., CommandRunner]


@pytest.fixture
def lines() -> list[str]:
    """What was printed."""
    return []


@pytest.fixture
def make(tmp_path: Path, lines: list[str]) -> Make:
    """Makes runners of an image whose `serve` is a script in its folder."""
    image = tmp_path / "image"
    image.mkdir()
    (image / "serve").write_text(f"#!{sys.executable}\n{SERVER}")
    (image / "serve").chmod(0o755)

    def make(*command: str, model: Path | None = None, **variables: str) -> CommandRunner:
        spec = CommandImage("x", image, Path(sys.executable), command or ("serve",))
        surroundings = replace(place(tmp_path, lines.append), environment=variables, model=model)
        return CommandRunner(spec, PoolLimits(), surroundings)

    return make


async def test_a_command_is_told_where_to_listen(
    make: Make, tmp_path: Path, lines: list[str]
) -> None:
    """It finds its port, its models, its own programs first, and what the model's owner set."""
    model = tmp_path / "models" / "0f" / "model"
    model.mkdir(parents=True)
    runner = make("serve", "--flag", model=model, MINE="1", MODELPLEX_SECRET="no")
    client = Client(await runner.start())
    try:
        await eventually(lambda: lines == ["listening"])
        _, seen = await client.json("GET", "/")
        taken = await runner.memory_bytes()
    finally:
        await client.close()
        await runner.stop(5)
    port = int(seen["SAGEMAKER_BIND_TO_PORT"])
    assert client.address == f"tcp:127.0.0.1:{port}"
    assert seen["SAGEMAKER_SAFE_PORT_RANGE"] == f"{port + 1}-{port + 1000}"
    assert seen["PATH"].split(":")[0] == str(Path(sys.executable).parent)
    assert (seen["MINE"], seen["argv"], seen["cwd"]) == ("1", ["--flag"], str(tmp_path / "image"))
    assert seen["SAGEMAKER_BASE_DIR"].startswith(str(tmp_path / "scratch"))
    assert not {"PYTHONPATH", "VIRTUAL_ENV"} & set(seen)
    assert runner.path(model) == str(model)
    assert 2 * MIB < taken < 200 * MIB


async def test_nothing_of_it_is_left(make: Make, tmp_path: Path, lines: list[str]) -> None:
    """Not even what it started in a session of its own, nor what ignores SIGTERM."""
    runner = make("serve", "stubborn")
    await runner.start()
    await eventually(lambda: lines == ["listening"])  # and ignores SIGTERM
    await eventually(lambda: len(processes_of(tmp_path)) == 2)
    await runner.stop(0.1)
    assert processes_of(tmp_path) == {}
    assert str(await runner.wait()) == "killed by SIGKILL"
    assert list((tmp_path / "scratch").iterdir()) == []
    await runner.stop(0.1)


async def test_its_end_says_how(make: Make) -> None:
    """An exit code, or the signal that somebody sent."""
    runner = make("python", "-c", "import sys; sys.exit(3)")
    await runner.start()
    end = await runner.wait()
    assert (str(end), end.out_of_memory) == ("exit code 3", False)
    await runner.stop(0)
    runner = make("sleep", "1000")
    await runner.start()
    assert runner.pid is not None
    os.kill(runner.pid, signal.SIGKILL)
    assert str(await runner.wait()) == "killed by SIGKILL"
    await runner.stop(0)


async def test_a_command_that_is_nowhere_is_no_start(make: Make) -> None:
    """The sentence names it."""
    runner = make("no-such-server", "--port")
    with pytest.raises(StartFailed, match=r"no program no-such-server in the image or on PATH"):
        await runner.start()
    await runner.stop(0)


async def test_two_stops_at_once_are_one(make: Make) -> None:
    """Whoever comes second waits for the same end."""
    runner = make("sleep", "1000")
    await runner.start()
    await asyncio.gather(runner.stop(5), runner.stop(5))
    assert str(await runner.wait()) == "killed by SIGTERM"
