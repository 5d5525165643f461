"""Containers behind a real instance: our own model server as the command of an image."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.instance.conftest import StartInstance
from tests.support.containers import settings
from tests.support.models import ECHO_HANDLER

# Two models at a time: whoever comes third hears MemoryError, which the server makes a 507.
HANDLER = ECHO_HANDLER.replace(
    "    if data is None:\n",
    """    if data is None:
        loaded = Path(os.environ["LOADED"])
        living = [p for p in loaded.iterdir() if Path("/proc", p.name).exists()]
        if len(living) >= 2:
            raise MemoryError("two are enough")
        (loaded / str(os.getpid())).touch()
""",
    1,
)
SILENT = """
import os, socket, time
server = socket.create_server(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])))
print("I listen and say nothing", flush=True)
time.sleep(600)
"""

# A single-model container of the simplest kind.
ONLY = """
import http.server, os
from pathlib import Path

WEIGHTS = Path(os.environ["SAGEMAKER_BASE_DIR"], "model", "weights.txt").read_bytes()

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.say(b"")

    def do_POST(self):
        self.say(WEIGHTS + b" " + self.rfile.read(int(self.headers["content-length"])))

    def say(self, body):
        self.send_response(200 if self.path in ("/ping", "/invocations") else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

port = int(os.environ["SAGEMAKER_BIND_TO_PORT"])
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""

Changes = Callable[..., dict[str, Any]]


@pytest.fixture
def command(tmp_path: Path) -> Changes:
    """Makes the spec's members for a command image in a folder of its own."""
    folder = tmp_path / "image"
    settings(folder)
    (folder / "default_handler.py").write_text(HANDLER)
    (tmp_path / "loaded").mkdir()

    def changes(*argv: str, **others: Any) -> dict[str, Any]:
        server = ("-m", "modelplex.server", "--mms-config", "server.properties")
        image = {
            "kind": "command",
            "name": "mine:latest",
            "folder": str(folder),
            "python": sys.executable,
            "command": ["python", *(argv or (*server, "--model-store", "/"))],
        }
        places = {"LOG_LOCATION": str(folder), "METRICS_LOCATION": str(folder)}
        variables = {"PYTHONPATH": str(folder), "LOADED": str(tmp_path / "loaded"), **places}
        return {"image": image, "environment": variables, **others}

    return changes


async def test_models_live_in_a_container_leave_it_for_others_and_outlive_it(
    start_instance: StartInstance, command: Changes
) -> None:
    """The container says 507 to the third model; one that is there leaves, and it is loaded. When
    the container is killed, another one starts, and its models are loaded as they are wanted.
    """
    running = await start_instance(**command()).healthy()
    pid = (await running.report())["zygote_pid"]
    for name in ("a", "b", "c", "a"):
        running.put(f"{name}.tar.gz", weights=name)
        reply = await running.invoke(f"{name}.tar.gz", b"hi", accept="application/json")
        assert reply.status == 200, reply.body
        assert (reply.document["weights"], reply.document["body"]) == (name, "hi")
    assert await running.events("failed")
    assert {event["reason"] for event in await running.events("unloaded")} == {"memory"}
    report = await running.report()
    loaded = [row for row in report["models"] if row["state"] == "loaded"]
    assert len(loaded) == 2
    assert report["zygote_pid"] == pid
    assert all(row["memory_bytes"] and row["pid"] == pid for row in loaded)
    assert 0 < report["memory"]["base"] < report["memory"]["used"] < report["memory"]["budget"]
    refused = await running.invoke("a.tar.gz", b"raise")
    assert (refused.status, refused.document["OriginalStatusCode"]) == (424, 503)

    os.kill(pid, signal.SIGKILL)
    await running.until_row("a.tar.gz", state="on_disk", failures=0)  # idle ones are not blamed
    reply = await running.invoke("a.tar.gz")
    assert reply.status == 200, reply.body
    assert (await running.report())["zygote_pid"] not in (pid, None)


async def test_a_single_model_has_the_container_to_itself(
    start_instance: StartInstance, command: Changes
) -> None:
    """It starts with the artifact in place, and is healthy when the container is."""
    url = "s3://{bucket}/models/only.tar.gz"
    argv = ("serve.py",)
    changes = command(*argv, mode="SingleModel")
    script = Path(changes["image"]["folder"]) / "serve.py"
    script.write_text(ONLY)
    running = start_instance(**changes)
    running.stop()
    running.put("only.tar.gz", weights="alone")
    running.spec["model_data_url"] = url.format(bucket=running.bucket)
    running.start()
    await running.healthy()
    reply = await running.invoke(None, b"hi")
    assert (reply.status, reply.body) == (200, b"alone hi")


async def test_a_container_that_says_nothing_fails_the_instance(
    start_instance: StartInstance, command: Changes
) -> None:
    """The reason is the endpoint's, and says where the output is found."""
    limits = {"container_ping_timeout_s": 0.1}
    running = start_instance(**command("-c", SILENT, health_timeout_s=1.0, limits=limits))
    document = await running.until_ping(503, "Failed")
    assert re.fullmatch(
        "The primary container for production variant AllTraffic did not pass the ping health "
        r"check within 1 s: GET /ping (was not answered within 0\.1 s|could not be sent: .+)\. "
        r"See log group /aws/sagemaker/Endpoints/demo, log stream AllTraffic/i-0123456789abcdef0\.",
        document["reason"],
    )  # not sent: a machine that stalls gives it no time to listen
